//! Turns a YAML value into a typed Job. Wrong types and unknown fields are refused, each with its path.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use serde::Deserialize;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::manifest;
use gotemplate::Names;

use super::{PlanError, Stage};

/// Why a value is not a Job.
struct Wrong {
    error: PlanError,
    /// The position of the value with the wrong type, as a JSON pointer.
    pointer: Option<String>,
}

/// Reads the value as the API server would with strict field validation. If a text that had no quotes in the template
/// is in a field of another type, it becomes what YAML would have read: an integer or null.
pub(super) fn settle(value: &mut Value, mut bare: BTreeSet<String>, names: &Names) -> Result<Job, PlanError> {
    loop {
        let wrong = match read(value, names) {
            Ok(job) => return Ok(job),
            Err(wrong) => wrong,
        };
        let is_bare = |pointer: &String| bare.remove(pointer);
        let text = wrong.pointer.filter(is_bare).and_then(|pointer| value.pointer_mut(&pointer));
        let Some(text) = text else { return Err(wrong.error) };
        *text = text.as_str().and_then(|text| text.parse::<i64>().ok()).map_or(Value::Null, Value::from);
    }
}

fn read(value: &Value, names: &Names) -> Result<Job, Box<Wrong>> {
    if names.are_fine()
        && let Ok(job) = Job::deserialize(value)
    {
        return Ok(job);
    }
    let job = read_closely(value)?;
    names.found_fine();
    Ok(job)
}

/// Finds what is wrong and where. This is too slow to do for every Job.
fn read_closely(value: &Value) -> Result<Job, Box<Wrong>> {
    let (job, mut unknown) = manifest::read_closely::<Job>(value);
    let job = job.map_err(|wrong| {
        let message = without_value(&wrong.error.to_string());
        let hint = if message.ends_with("expected a string") { ": quote the value" } else { "" };
        let error = PlanError::new(Stage::Check, format!("{message}{hint}")).at_field(wrong.path.to_string());
        Box::new(Wrong { error, pointer: Some(pointer(&wrong.path)) })
    })?;
    let message = match unknown.as_slice() {
        [] => return Ok(job),
        [_] => "unknown field".to_owned(),
        [_, more @ ..] => {
            let are = if more.len() == 1 { "is" } else { "are" };
            format!("unknown field, and so {are} {}", more.join(", "))
        }
    };
    let error = PlanError::new(Stage::Check, message).at_field(unknown.swap_remove(0));
    Err(Box::new(Wrong { error, pointer: None }))
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let segments = path.iter().map(|segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => "/".to_owned(),
    });
    segments.collect()
}

/// `invalid type: string "Acme", expected i32`, but without the value, which may be event data.
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
        let error = read_closely(&job).err().unwrap().error;
        assert_eq!(error.to_string(), "spec.template.spec.containers[0].imagee: unknown field");
    }

    #[test]
    fn wrong_types_are_refused_by_path_and_never_quote_the_value() {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": "Acme \"x\", expected y",
            "template": {}}});
        assert_eq!(
            read_closely(&job).err().unwrap().error.to_string(),
            "spec.backoffLimit: invalid type: string, expected i32"
        );
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [
            {"name": "a", "env": [{"name": "A", "value": true}]}]}}}});
        assert_eq!(
            read_closely(&job).err().unwrap().error.to_string(),
            "spec.template.spec.containers[0].env[0].value: invalid type: boolean, expected a string: quote the value"
        );
    }
}
