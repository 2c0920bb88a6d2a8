//! What an API server refuses and fills in, as far as our Jobs meet it: strict fields, names and labels, a Job's spec, and the
//! order in which a Job's status may come to its end.

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

/// Now, as Kubernetes writes it.
pub(super) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Why this Job is not taken: status code and words.
pub(super) fn check_job(job: &Value, strict: bool) -> Result<(), (u16, String)> {
    let mut unknown = Vec::new();
    let typed: Result<Job, _> = serde_ignored::deserialize(job, |path| unknown.push(path.to_string()));
    let typed =
        typed.map_err(|error| (400, format!("Job in version \"v1\" cannot be handled as a Job: {error}")))?;
    if strict && let Some(field) = unknown.first() {
        return Err((400, format!("strict decoding error: unknown field \"{field}\"")));
    }
    let name = typed.metadata.name.clone().unwrap_or_default();
    let invalid = |field: &str, why: &str| {
        Err((422, format!("Job.batch \"{name}\" is invalid: {field}: Invalid value: {why}")))
    };
    if name.is_empty() || name.len() > 63 || !name.split('.').all(is_label) {
        return invalid(
            "metadata.name",
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters",
        );
    }
    let Some(spec) = &typed.spec else { return invalid("spec", "is required") };
    let template = spec.template.metadata.as_ref();
    for labels in [typed.metadata.labels.as_ref(), template.and_then(|template| template.labels.as_ref())] {
        for value in labels.into_iter().flatten().map(|(_, value)| value) {
            let edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
            let inner = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if value.len() > 63 || !inner || !edge(value.bytes().next()) || !edge(value.bytes().last()) {
                return invalid(
                    "metadata.labels",
                    "a valid label must be an empty string or consist of alphanumeric characters",
                );
            }
        }
    }
    let Some(pod) = &spec.template.spec else { return invalid("spec.template.spec", "is required") };
    if pod.containers.is_empty() {
        return invalid("spec.template.spec.containers", "is required");
    }
    match pod.restart_policy.as_deref() {
        Some("Never") => {}
        Some("OnFailure") if spec.pod_failure_policy.is_none() => {}
        other => {
            return invalid(
                "spec.template.spec.restartPolicy",
                &format!("{other:?}: valid values: \"OnFailure\", \"Never\""),
            );
        }
    }
    Ok(())
}

/// What the API server fills in.
pub(super) fn complete_job(job: &mut Value, uid: &Value) {
    let name = job["metadata"]["name"].clone();
    let spec = &mut job["spec"];
    for (field, value) in [
        ("parallelism", json!(1)),
        ("completions", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
        ("selector", json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})),
    ] {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
    let labels = &mut spec["template"]["metadata"]["labels"];
    for prefix in ["", "batch.kubernetes.io/"] {
        labels[format!("{prefix}controller-uid")] = uid.clone();
        labels[format!("{prefix}job-name")] = name.clone();
    }
    job["status"] = json!({});
}

/// Why this status of a Job is not taken.
pub(super) fn check_status(old: &Value, new: &Value) -> Result<(), String> {
    let holds = |object: &Value, kind: &str| {
        let conditions = object["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    for (end, before) in [("Complete", "SuccessCriteriaMet"), ("Failed", "FailureTarget")] {
        if holds(old, end) && !holds(new, end) {
            return Err(format!("status.conditions: cannot remove {end}=True"));
        }
        if holds(new, end) && !holds(new, before) {
            return Err(format!("status.conditions: cannot set {end}=True without {before}=True"));
        }
    }
    if holds(new, "Complete") && holds(new, "Failed") {
        return Err("status.conditions: cannot set Complete=True and Failed=True".to_owned());
    }
    let status = &new["status"];
    if holds(new, "Complete") == status["completionTime"].is_null() {
        return Err("status.completionTime: must be set if and only if the Job is complete".to_owned());
    }
    let ended = holds(new, "Complete") || holds(new, "Failed");
    if ended && status["startTime"].is_null() {
        return Err("status.startTime: required for a Job that has ended".to_owned());
    }
    if ended && status["active"].as_u64().unwrap_or(0) > 0 {
        return Err("status.active: must be zero for a Job that has ended".to_owned());
    }
    if holds(new, "Complete") && status["succeeded"].as_u64().unwrap_or(0) == 0 {
        return Err("status.succeeded: must be the completions of a Job that is complete".to_owned());
    }
    Ok(())
}

fn is_label(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('-')
        && !part.ends_with('-')
        && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
