-- The history of Jobs, written by the dispatchers. Workers neither read nor write it.
-- Times are UTC; every text is cut to its column by the writer.

CREATE TABLE job_runs (
    id TEXT NOT NULL PRIMARY KEY, -- a digest of trigger, namespace, Job and event
    trigger_name TEXT NOT NULL,
    namespace TEXT NOT NULL,
    job_name TEXT NOT NULL,
    image TEXT NOT NULL,
    event_hash TEXT NOT NULL,
    event_id TEXT NOT NULL,
    nats_subject TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    replay INTEGER NOT NULL, -- how often the event came back from the dead letters
    deliveries INTEGER NOT NULL,
    state TEXT NOT NULL, -- running, complete, failed, try_again, handed_back
    superseded INTEGER NOT NULL, -- 1: a replay of the event has taken its place
    published_at TEXT NOT NULL,
    handed_at TEXT NOT NULL,
    started_at TEXT NULL,
    ended_at TEXT NULL,
    seen_at TEXT NOT NULL, -- last sign of life of a dispatcher that follows it
    tries INTEGER NOT NULL,
    adopted INTEGER NOT NULL, -- 1: the dispatcher that saw its end had not started it
    exit_code INTEGER NULL,
    cause TEXT NULL,
    message TEXT NULL,
    report TEXT NULL -- the worker's own result line
);
CREATE INDEX job_runs_customer ON job_runs (customer_id, superseded, handed_at);
CREATE INDEX job_runs_trigger ON job_runs (trigger_name, handed_at);
CREATE INDEX job_runs_ended ON job_runs (ended_at, trigger_name, state);
CREATE INDEX job_runs_state ON job_runs (state, seen_at);

-- Where each customer is: what follows from its runs, kept so that a list of all is one walk along an index.
CREATE TABLE customer_states (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    search TEXT NOT NULL, -- the name in lower case
    tier TEXT NOT NULL,
    stage INTEGER NOT NULL, -- 0 stuck, 1 to be tried again, 2 under way, 3 onboarded
    position INTEGER NOT NULL, -- the order within a stage
    step TEXT NOT NULL, -- the trigger that tells where it is
    reason TEXT NULL, -- why it does not go on
    started_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    onboarded_at TEXT NULL,
    done INTEGER NOT NULL,
    open INTEGER NOT NULL,
    failed INTEGER NOT NULL
);
CREATE INDEX customer_states_order ON customer_states (stage, position, id, search);

-- How many there are: of runs by trigger and state, of customers by stage. Changed with what it counts.
CREATE TABLE history_totals (
    kind TEXT NOT NULL, -- run, customer
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (kind, name, state)
);

-- Customers from before there was a history.
INSERT INTO customer_states
    (id, name, search, tier, stage, position, step, reason, started_at, changed_at, onboarded_at, done, open, failed)
SELECT id, name, LOWER(name), subscription_tier, IIF(onboarded_at IS NULL, 2, 3),
       IIF(onboarded_at IS NULL, 1, -1)
           * CAST((JULIANDAY(COALESCE(onboarded_at, saved_at, started_at)) - 2440587.5) * 86400000 AS INTEGER) * 1000,
       '', NULL, started_at, COALESCE(onboarded_at, saved_at, started_at), onboarded_at, 0, 0, 0
FROM customers;

INSERT INTO history_totals (kind, name, state, amount)
SELECT 'customer', '', CAST(stage AS TEXT), COUNT(*) FROM customer_states GROUP BY stage;
