//! Jobs as real containers of the engine at `DOCKER_HOST`. If no engine answers, there is nothing to test; with `CI`
//! set that is a failure.

mod adoption;
mod ending;
mod engine_away;
mod given;
mod ground;
mod keeping;
mod mounted;
mod proxy;

use std::time::Duration;

use serde_json::{Value, json};

use self::ground::Ground;
use crate::tests::{anywhere, identity, job as planned, message};
use crate::{EndedJobPolicy, Failure, FailureClass, Outcome, Ran};
use rules::plan::{ExitCodes, FailureAction, FailureRule, JobSpec, JobText, PlannedJob};

/// A Job that runs this script as an unprivileged user.
fn job(ground: &Ground, script: &str) -> PlannedJob {
    let fatal = FailureRule {
        action: FailureAction::FailJob,
        exit_codes: Some(ExitCodes::In(vec![65, 70, 78])),
        container: None,
    };
    let spec = JobSpec {
        container: "worker".to_owned(),
        image: ground.image().to_owned(),
        // Doubled, because `$$` in a Job's command means `$` in the shell.
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.replace('$', "$$")],
        args: Vec::new(),
        working_dir: None,
        env_from: Vec::new(),
        env: Vec::new(),
        termination_message_path: "/dev/termination-log".to_owned(),
        active_deadline: Some(Duration::from_mins(2)),
        backoff_limit: 2,
        failure_rules: vec![fatal],
        ttl_after_finished: Some(Duration::from_mins(1)),
        grace: Duration::from_secs(1),
    };
    let mut job = planned(spec);
    pod(&mut job, &json!({"containers": [{"name": "worker", "securityContext": {"runAsUser": 65532}}]}));
    job
}

/// Gives the Job this Pod, from which the backend reads the isolation settings.
fn pod(job: &mut PlannedJob, pod: &Value) {
    let whole = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}});
    job.manifest = JobText::of(&whole);
}

fn is_complete(ran: &Ran) -> bool {
    matches!(ran.outcome, Outcome::Complete { .. })
}
