-- The history of Jobs, written by the dispatchers. Workers neither read nor write it.
-- Times are UTC; every text is cut to its column by the writer.

CREATE TABLE job_runs (
    id           CHAR(32)      NOT NULL PRIMARY KEY, -- a digest of trigger, namespace, Job and event
    trigger_name VARCHAR(253)  NOT NULL,
    namespace    VARCHAR(63)   NOT NULL,
    job_name     VARCHAR(63)   NOT NULL,
    image        VARCHAR(255)  NOT NULL,
    event_hash   CHAR(32)      NOT NULL,
    event_id     VARCHAR(255)  NOT NULL,
    nats_subject VARCHAR(255)  NOT NULL,
    customer_id  VARCHAR(128)  NOT NULL,
    replay       INT           NOT NULL, -- how often the event came back from the dead letters
    deliveries   INT           NOT NULL,
    state        VARCHAR(16)   NOT NULL, -- running, complete, failed, try_again, handed_back
    superseded   INT           NOT NULL, -- 1: a replay of the event has taken its place
    published_at DATETIME(6)   NOT NULL,
    handed_at    DATETIME(6)   NOT NULL,
    started_at   DATETIME(6)   NULL,
    ended_at     DATETIME(6)   NULL,
    seen_at      DATETIME(6)   NOT NULL, -- last sign of life of a dispatcher that follows it
    tries        INT           NOT NULL,
    adopted      INT           NOT NULL, -- 1: the dispatcher that saw its end had not started it
    exit_code    INT           NULL,
    cause        VARCHAR(32)   NULL,
    message      VARCHAR(1024) NULL,
    report       VARCHAR(4096) NULL, -- the worker's own result line
    KEY job_runs_customer (customer_id, superseded, handed_at),
    KEY job_runs_trigger (trigger_name, handed_at),
    KEY job_runs_ended (ended_at, trigger_name, state),
    KEY job_runs_state (state, seen_at)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Where each customer is: what follows from its runs, kept so that a list of all is one walk along an index.
CREATE TABLE customer_states (
    id           VARCHAR(128)  NOT NULL PRIMARY KEY,
    name         VARCHAR(128)  NOT NULL,
    search       VARCHAR(128)  NOT NULL, -- the name in lower case
    tier         VARCHAR(32)   NOT NULL,
    stage        INT           NOT NULL, -- 0 stuck, 1 to be tried again, 2 under way, 3 onboarded
    position     BIGINT        NOT NULL, -- the order within a stage
    step         VARCHAR(253)  NOT NULL, -- the trigger that tells where it is
    reason       VARCHAR(1024) NULL,     -- why it does not go on
    started_at   DATETIME(6)   NOT NULL,
    changed_at   DATETIME(6)   NOT NULL,
    onboarded_at DATETIME(6)   NULL,
    done         INT           NOT NULL,
    open         INT           NOT NULL,
    failed       INT           NOT NULL,
    KEY customer_states_order (stage, position, id, search)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How many there are: of runs by trigger and state, of customers by stage. Changed with what it counts.
CREATE TABLE history_totals (
    kind   VARCHAR(16)  NOT NULL, -- run, customer
    name   VARCHAR(253) NOT NULL,
    state  VARCHAR(16)  NOT NULL,
    amount BIGINT       NOT NULL,
    PRIMARY KEY (kind, name, state)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Customers from before there was a history.
INSERT INTO customer_states
    (id, name, search, tier, stage, position, step, reason, started_at, changed_at, onboarded_at, done, open, failed)
SELECT id, name, LOWER(name), subscription_tier, IF(onboarded_at IS NULL, 2, 3),
       IF(onboarded_at IS NULL, 1, -1)
           * TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', COALESCE(onboarded_at, saved_at, started_at)),
       '', NULL, started_at, COALESCE(onboarded_at, saved_at, started_at), onboarded_at, 0, 0, 0
FROM customers;

INSERT INTO history_totals (kind, name, state, amount)
SELECT 'customer', '', CAST(stage AS CHAR), COUNT(*) FROM customer_states GROUP BY stage;
