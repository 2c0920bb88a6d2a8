-- The effects of a step outside of the database that have succeeded, each entered as soon as it has: a mail, a post, an order.
-- A repeat of the event does only those that are missing.
CREATE TABLE effects (
    step TEXT NOT NULL,
    event_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    effect TEXT NOT NULL, -- mail, webhook, order, touchpoints
    customer_id TEXT NOT NULL,
    receipt TEXT NULL, -- the id that the other side gave
    done_at TEXT NOT NULL,
    PRIMARY KEY (step, event_id, subject, effect)
);

CREATE INDEX effects_customer ON effects (customer_id);
