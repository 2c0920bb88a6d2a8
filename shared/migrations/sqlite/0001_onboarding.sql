-- No foreign keys: events published by hand may come in any order.
-- Times are UTC.

CREATE TABLE customers (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    subscription_tier TEXT NOT NULL,
    shipping_address TEXT NULL,
    started_at TEXT NOT NULL, -- time of the event that started the flow
    saved_at TEXT NULL,     -- NULL: registered only
    welcome_due_at TEXT NULL,     -- set once, by the run that decides that the welcome follows
    onboarded_at TEXT NULL
);

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    customer_id TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    saved_at TEXT NULL -- NULL: registered, its save-user run is awaited
);

CREATE TABLE sent_mails (
    message_id TEXT NOT NULL PRIMARY KEY,
    customer_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    sent_at TEXT NOT NULL
);

CREATE TABLE swag_orders (
    idempotency_key TEXT NOT NULL PRIMARY KEY,
    customer_id TEXT NOT NULL,
    package TEXT NOT NULL,
    status TEXT NOT NULL, -- ordered, waiting_for_address
    vendor_order_id TEXT NULL,
    created_at TEXT NOT NULL
);

CREATE TABLE touchpoints (
    customer_id TEXT NOT NULL PRIMARY KEY,
    welcome_outreach TEXT NOT NULL,
    technical_onboarding TEXT NOT NULL,
    follow_up_call TEXT NOT NULL,
    feedback_session TEXT NOT NULL,
    crm_id TEXT NULL,
    created_at TEXT NOT NULL
);

-- The ledger: this step has handled this event about this subject.
CREATE TABLE handled_events (
    step TEXT NOT NULL,
    event_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    handled_at TEXT NOT NULL,
    PRIMARY KEY (step, event_id, subject)
);

-- What a handled event leads to, written with it, published after it, and again on every repeat.
CREATE TABLE outbox (
    event_id TEXT NOT NULL PRIMARY KEY,
    step TEXT NOT NULL,
    cause_id TEXT NOT NULL,
    cause_subject TEXT NOT NULL,
    position INTEGER NOT NULL,
    nats_subject TEXT NOT NULL,
    payload TEXT NOT NULL
);

CREATE INDEX users_customer ON users (customer_id);
CREATE INDEX sent_mails_customer ON sent_mails (customer_id);
CREATE INDEX swag_orders_customer ON swag_orders (customer_id);
CREATE INDEX handled_events_customer ON handled_events (customer_id);
CREATE INDEX outbox_cause ON outbox (step, cause_id, cause_subject);
