//! What the cluster would make of the Jobs: each is created as a dry run, so that admission rules and the server's own checks have
//! their say, and nothing is kept.

use std::fmt::Write;

use serde_json::{Value, json};
use shared::error::{Class, Error, Result};

use super::report::yaml;
use crate::backend::kubernetes::{Access, dry_run};
use crate::command::output::Paint;
use crate::plan::PlannedJob;

/// What the cluster said about one Job.
pub(super) struct Answer {
    namespace: String,
    name: String,
    /// The Job as it would be kept, or why it would not be taken.
    said: std::result::Result<Value, Error>,
}

/// Asks about each Job; an error where nobody answers.
pub(super) async fn ask(access: &Access, jobs: &[&PlannedJob]) -> Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let said = match dry_run(access, job).await {
            // Nobody was asked, or nobody answered.
            Err(error) if error.class() != Class::Input => return Err(error),
            said => said,
        };
        answers.push(Answer { namespace: job.namespace.clone(), name: job.name.clone(), said });
    }
    Ok(answers)
}

/// Whether all would be taken.
pub(super) fn all_taken(answers: &[Answer]) -> bool {
    answers.iter().all(|answer| answer.said.is_ok())
}

/// For people.
pub(super) fn text(answers: &[Answer], paint: Paint) -> String {
    let mut out = String::new();
    for Answer { namespace, name, said } in answers {
        // A String takes everything.
        let _ = match said {
            Ok(job) => write!(
                out,
                "\n{} the server would take the Job {namespace}/{name}, as\n---\n{}",
                paint.green("✓"),
                yaml(job)
            ),
            Err(error) => writeln!(
                out,
                "\n{} the server would not take the Job {namespace}/{name}\n    {error}",
                paint.red("✗")
            ),
        };
    }
    out
}

/// For machines.
pub(super) fn machine(answers: &[Answer]) -> Value {
    let each = answers.iter().map(|Answer { namespace, name, said }| match said {
        Ok(job) => json!({"namespace": namespace, "name": name, "taken": true, "job": job}),
        Err(error) => {
            json!({"namespace": namespace, "name": name, "taken": false, "error": error.to_string()})
        }
    });
    each.collect()
}
