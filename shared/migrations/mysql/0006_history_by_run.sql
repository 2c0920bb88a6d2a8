-- The history is one row per Job run, and nothing beside it: counts and states follow from the rows when somebody asks.
-- The key of a flow is what its events have in common; here it is the customer's id.
ALTER TABLE job_runs CHANGE COLUMN customer_id flow_key VARCHAR(128) NOT NULL;
ALTER TABLE job_runs ADD COLUMN flow_name VARCHAR(128) NOT NULL DEFAULT ''; -- what the event calls it
UPDATE job_runs JOIN customer_states ON customer_states.id = job_runs.flow_key
    SET job_runs.flow_name = customer_states.name WHERE job_runs.state <> 'complete';
ALTER TABLE operator_actions CHANGE COLUMN customer_id flow_key VARCHAR(128) NOT NULL;

-- Runs that are not complete, by flow; and all runs by the time of the last word about them.
CREATE INDEX job_runs_open ON job_runs (state, superseded, flow_key, ended_at, handed_at);
CREATE INDEX job_runs_seen ON job_runs (seen_at, state, superseded, trigger_name);
DROP INDEX job_runs_state ON job_runs;
DROP INDEX job_runs_ended ON job_runs;
-- The index job_runs_parts serves all that is asked of one flow.
DROP INDEX job_runs_customer ON job_runs;

-- Customers by what the page shows first, with what it searches.
CREATE INDEX customers_progress ON customers (onboarded_at, started_at, id, name);
-- Runs that the history has missed are looked for in the ledger, newest entries first.
CREATE INDEX handled_events_time ON handled_events (handled_at);

-- Kept beside the rows by earlier versions, and wrong wherever a writer was interrupted.
DROP TABLE customer_states;
DROP TABLE history_totals;
