//! A YAML value as a typed Job: wrong types and unknown fields are refused, each by its path.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use serde::Deserialize;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::manifest::field_path;

use super::{PlanError, Stage};

/// Reads the value as the API server would with strict field validation.
pub(super) fn read(value: &Value) -> Result<Job, PlanError> {
    let mut unknown = Vec::new();
    let job: Result<Job, serde_json::Error> =
        serde_ignored::deserialize(value, |path| unknown.push(field_path(&path)));
    let Ok(job) = job else { return placed(value).map_err(|wrong| wrong.error) };
    match unknown.split_first() {
        None => Ok(job),
        Some((first, [])) => Err(PlanError::new(Stage::Check, "unknown field").at_field(first)),
        Some((first, more)) => {
            let message = format!(
                "unknown field, and so {} {}",
                if more.len() == 1 { "is" } else { "are" },
                more.join(", ")
            );
            Err(PlanError::new(Stage::Check, message).at_field(first))
        }
    }
}

/// Reads the value, and where a field wants no text but a bare one stands there, makes it what it would have been without
/// quotes: an integer, or nothing.
pub(super) fn settle(value: &mut Value, bare: &BTreeSet<String>) -> Result<Job, PlanError> {
    let mut left = bare.clone();
    loop {
        let error = match read(value) {
            Ok(job) => return Ok(job),
            Err(error) => error,
        };
        // It can be read: the fault is a field that nobody knows.
        let Err(wrong) = placed(value) else { return Err(error) };
        let Some(text) = value.pointer_mut(&wrong.pointer).filter(|_| left.remove(&wrong.pointer)) else {
            return Err(wrong.error);
        };
        *text = text.as_str().and_then(|text| text.parse::<i64>().ok()).map_or(Value::Null, Value::from);
    }
}

struct Wrong {
    error: PlanError,
    /// Where, as a JSON pointer.
    pointer: String,
}

/// Reads a value that cannot be read, to say where: that costs too much to be done for every Job.
fn placed(value: &Value) -> Result<Job, Box<Wrong>> {
    let mut track = serde_path_to_error::Track::new();
    let job = Job::deserialize(serde_path_to_error::Deserializer::new(value, &mut track));
    job.map_err(|error| {
        let message = without_value(&error.to_string());
        let hint = if message.ends_with("expected a string") { ": quote the value" } else { "" };
        let path = track.path();
        let error = PlanError::new(Stage::Check, format!("{message}{hint}")).at_field(path.to_string());
        Box::new(Wrong { error, pointer: pointer(&path) })
    })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let segments = path.iter().map(|segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => "/".to_owned(),
    });
    segments.collect()
}

/// `invalid type: string "Acme", expected i32` without the value, which may be event data.
fn without_value(message: &str) -> String {
    match (message.find(['"', '`']), message.rfind(", expected ")) {
        (Some(start), Some(end)) if start < end => {
            format!("{}{}", message[..start].trim_end(), &message[end..])
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_refused_by_path() {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [
            {"name": "a", "imagee": "x"}]}}}});
        let error = read(&job).unwrap_err();
        assert_eq!(error.to_string(), "spec.template.spec.containers[0].imagee: unknown field");
    }

    #[test]
    fn wrong_types_are_refused_by_path_and_never_quote_the_value() {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": "Acme \"x\", expected y",
            "template": {}}});
        assert_eq!(
            read(&job).unwrap_err().to_string(),
            "spec.backoffLimit: invalid type: string, expected i32"
        );
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [
            {"name": "a", "env": [{"name": "A", "value": true}]}]}}}});
        assert_eq!(
            read(&job).unwrap_err().to_string(),
            "spec.template.spec.containers[0].env[0].value: invalid type: boolean, expected a string: quote the value"
        );
    }
}
