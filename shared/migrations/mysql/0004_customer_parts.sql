-- What a customer is follows from its runs by trigger and state: from this index alone, however many they are.
-- A run may also be 'dropped' (an operator dropped its event), and a customer's stage 4 (given up).
CREATE INDEX job_runs_parts ON job_runs (customer_id, superseded, trigger_name, state, ended_at, handed_at);
