-- No foreign keys: events published by hand may come in any order.
-- Times are UTC.

CREATE TABLE customers (
    id                CHAR(36)      NOT NULL PRIMARY KEY,
    name              VARCHAR(64)   NOT NULL,
    subscription_tier VARCHAR(16)   NOT NULL,
    shipping_address  VARCHAR(1024) NULL,
    started_at        DATETIME(6)   NOT NULL, -- time of the event that started the flow
    saved_at          DATETIME(6)   NULL,     -- NULL: registered only
    welcome_due_at    DATETIME(6)   NULL,     -- set once, by the run that decides that the welcome follows
    onboarded_at      DATETIME(6)   NULL
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE users (
    id          CHAR(36)    NOT NULL PRIMARY KEY,
    customer_id CHAR(36)    NOT NULL,
    name        VARCHAR(64) NOT NULL,
    email       VARCHAR(64) NOT NULL,
    role        VARCHAR(32) NOT NULL,
    saved_at    DATETIME(6) NULL, -- NULL: registered, its save-user run is awaited
    UNIQUE KEY users_email (email),
    KEY users_customer (customer_id)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE sent_mails (
    message_id  VARCHAR(128) NOT NULL PRIMARY KEY,
    customer_id CHAR(36)     NOT NULL,
    kind        VARCHAR(32)  NOT NULL,
    sent_at     DATETIME(6)  NOT NULL,
    KEY sent_mails_customer (customer_id)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE swag_orders (
    idempotency_key CHAR(36)     NOT NULL PRIMARY KEY,
    customer_id     CHAR(36)     NOT NULL,
    package         VARCHAR(64)  NOT NULL,
    status          VARCHAR(32)  NOT NULL, -- ordered, waiting_for_address
    vendor_order_id VARCHAR(128) NULL,
    created_at      DATETIME(6)  NOT NULL,
    KEY swag_orders_customer (customer_id)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE touchpoints (
    customer_id          CHAR(36)     NOT NULL PRIMARY KEY,
    welcome_outreach     DATE         NOT NULL,
    technical_onboarding DATE         NOT NULL,
    follow_up_call       DATE         NOT NULL,
    feedback_session     DATE         NOT NULL,
    crm_id               VARCHAR(128) NULL,
    created_at           DATETIME(6)  NOT NULL
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The ledger: this step has handled this event about this subject.
CREATE TABLE handled_events (
    step        VARCHAR(32)  NOT NULL,
    event_id    VARCHAR(255) NOT NULL,
    subject     CHAR(36)     NOT NULL,
    customer_id CHAR(36)     NOT NULL,
    handled_at  DATETIME(6)  NOT NULL,
    PRIMARY KEY (step, event_id, subject),
    KEY handled_events_customer (customer_id)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What a handled event leads to, written with it, published after it, and again on every repeat.
CREATE TABLE outbox (
    event_id      VARCHAR(36)  NOT NULL PRIMARY KEY,
    step          VARCHAR(32)  NOT NULL,
    cause_id      VARCHAR(255) NOT NULL,
    cause_subject CHAR(36)     NOT NULL,
    position      INT          NOT NULL,
    nats_subject  VARCHAR(255) NOT NULL,
    payload       MEDIUMTEXT   NOT NULL,
    KEY outbox_cause (step, cause_id, cause_subject)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
