//! What the cluster would make of the Jobs. Each is created as a dry run, so that admission rules and the server's
//! own checks apply and nothing is stored.

use std::fmt::Write;

use serde_json::{Value, json};
use shared::error::{Class, Error, Result};

use crate::explanation::yaml;
use crate::paint::Paint;
use crate::plan::PlannedJob;
use backend::kubernetes::{Access, dry_run};

/// The cluster's answer about one Job.
pub(super) struct Answer {
    namespace: String,
    name: String,
    /// The Job as it would be stored, or why it would be refused.
    said: std::result::Result<Value, Error>,
}

/// Asks the cluster about each Job. It fails if no server answers.
pub(super) async fn ask(access: &Access, jobs: &[&PlannedJob]) -> Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let said = match dry_run(access, job).await {
            // The server could not be reached, or did not answer.
            Err(error) if error.class() != Class::Input => return Err(error),
            said => said,
        };
        answers.push(Answer { namespace: job.namespace.clone(), name: job.name.clone(), said });
    }
    Ok(answers)
}

/// Whether the cluster would accept all Jobs.
pub(super) fn all_taken(answers: &[Answer]) -> bool {
    answers.iter().all(|answer| answer.said.is_ok())
}

/// The answers as text.
pub(super) fn text(answers: &[Answer], paint: Paint) -> String {
    let mut out = String::new();
    for Answer { namespace, name, said } in answers {
        // Writing to a `String` cannot fail.
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

/// The answers as JSON.
pub(super) fn machine(answers: &[Answer]) -> Value {
    let each = answers.iter().map(|Answer { namespace, name, said }| match said {
        Ok(job) => json!({"namespace": namespace, "name": name, "taken": true, "job": job}),
        Err(error) => {
            json!({"namespace": namespace, "name": name, "taken": false, "error": error.to_string()})
        }
    });
    each.collect()
}
