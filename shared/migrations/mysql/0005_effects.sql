-- The effects of a step outside of the database that have succeeded, each entered as soon as it has: a mail, a post, an order.
-- A repeat of the event does only those that are missing.
CREATE TABLE effects (
    step        VARCHAR(32)  NOT NULL,
    event_id    VARCHAR(255) NOT NULL,
    subject     CHAR(36)     NOT NULL,
    effect      VARCHAR(32)  NOT NULL, -- mail, webhook, order, touchpoints
    customer_id CHAR(36)     NOT NULL,
    receipt     VARCHAR(128) NULL,     -- the id that the other side gave
    done_at     DATETIME(6)  NOT NULL,
    PRIMARY KEY (step, event_id, subject, effect),
    KEY effects_customer (customer_id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
