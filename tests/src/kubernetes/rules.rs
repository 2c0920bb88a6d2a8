//! What an API server refuses and fills in, as far as our Jobs need it: strict fields, the rules for Jobs, and the
//! order in which a Job's status may reach its end.

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

/// The time now, in Kubernetes' format.
pub(super) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Why this Job is refused: status code and message. The rules are those that `validate` uses, and the verdicts of a
/// real server on the mistakes in their table.
pub(super) fn check_job(job: &Value, strict: bool) -> Result<(), (u16, String)> {
    let mut unknown = Vec::new();
    let typed: Result<Job, _> = serde_ignored::deserialize(job, |path| unknown.push(path.to_string()));
    let typed =
        typed.map_err(|error| (400, format!("Job in version \"v1\" cannot be handled as a Job: {error}")))?;
    if strict && let Some(field) = unknown.first() {
        return Err((400, format!("strict decoding error: unknown field \"{field}\"")));
    }
    let name = typed.metadata.name.unwrap_or_default();
    let faults = ::rules::job_rules::check(job);
    if faults.is_empty() {
        return Ok(());
    }
    let words: Vec<_> =
        faults.iter().map(|fault| format!("{}: Invalid value: {}", fault.field, fault.message)).collect();
    Err((422, format!("Job.batch \"{name}\" is invalid: {}", words.join(", "))))
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

/// What the definitions of Sveltos fill in.
pub(super) fn complete_as_sveltos(plural: &str, object: &mut Value) {
    let fill = |object: &mut Value, fields: &[(&str, Value)]| {
        for (field, value) in fields {
            if object[*field].is_null() {
                object[*field] = value.clone();
            }
        }
    };
    let Some(spec) = object.get_mut("spec") else { return };
    match plural {
        "eventsources" => fill(spec, &[("collectResources", json!(false))]),
        "eventtriggers" => {
            let fields = [
                ("continueOnConflict", json!(false)),
                ("reloader", json!(false)),
                ("stopMatchingBehavior", json!("WithdrawPolicies")),
                ("tier", json!(100)),
            ];
            fill(spec, &fields);
            let fields = [
                ("deploymentType", json!("Remote")),
                ("force", json!(false)),
                ("optional", json!(false)),
                ("skipNamespaceCreation", json!(false)),
            ];
            for reference in spec["policyRefs"].as_array_mut().into_iter().flatten() {
                fill(reference, &fields);
            }
        }
        _ => {}
    }
}

/// Why this status of a Job is refused.
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
