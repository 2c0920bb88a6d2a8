-- Who did what to dead letters, and when. Never removed by the dispatcher.
CREATE TABLE operator_actions (
    id TEXT NOT NULL PRIMARY KEY,
    done_at TEXT NOT NULL,
    operator TEXT NOT NULL, -- the name that was given with the admin token
    address TEXT NOT NULL, -- where the request came from
    action TEXT NOT NULL, -- replay, drop
    dead_letter INTEGER NOT NULL,
    nats_subject TEXT NOT NULL,
    event_id TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    outcome TEXT NOT NULL
);
CREATE INDEX operator_actions_done ON operator_actions (done_at);
