-- Who did what to dead letters, and when. Never removed by the dispatcher.
CREATE TABLE operator_actions (
    id          CHAR(36)     NOT NULL PRIMARY KEY,
    done_at     DATETIME(6)  NOT NULL,
    operator    VARCHAR(64)  NOT NULL, -- the name that was given with the admin token
    address     VARCHAR(64)  NOT NULL, -- where the request came from
    action      VARCHAR(16)  NOT NULL, -- replay, drop
    dead_letter BIGINT       NOT NULL,
    nats_subject VARCHAR(255) NOT NULL,
    event_id    VARCHAR(255) NOT NULL,
    customer_id VARCHAR(128) NOT NULL,
    outcome     VARCHAR(255) NOT NULL,
    KEY operator_actions_done (done_at)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
