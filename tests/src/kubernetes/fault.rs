//! Faults of an API server.

use std::time::Duration;

use serde_json::{Value, json};

/// An effect on matching calls.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The beginning of the call, such as `POST jobs`.
    pub call: String,
    /// For how many calls.
    pub times: usize,
    /// What happens to them.
    pub effect: Effect,
}

/// What happens to a call.
#[derive(Debug, Clone)]
pub enum Effect {
    /// It is answered with this status and body, and nothing is done.
    Answer {
        /// The status code.
        code: u16,
        /// The body.
        body: String,
        /// Seconds in `Retry-After`.
        retry_after: Option<u64>,
    },
    /// An admission policy removes all labels from a new object.
    WithoutLabels,
    /// The answer breaks off, and nothing is done.
    Cut,
    /// It is done, and the answer breaks off.
    DoneThenCut,
    /// Answered as usual, this much later.
    Slow(Duration),
}

impl Fault {
    /// The next call that begins with these words.
    pub fn once(call: &str, effect: Effect) -> Self {
        Self::times(1, call, effect)
    }

    /// The next calls that begin with these words.
    pub fn times(times: usize, call: &str, effect: Effect) -> Self {
        Self { call: call.to_owned(), times, effect }
    }
}

impl Effect {
    /// Priority and fairness rejects it: plain text, like the real one.
    pub fn throttled(seconds: u64) -> Self {
        let body = "Too many requests, please try again later.\n".to_owned();
        Self::Answer { code: 429, body, retry_after: Some(seconds) }
    }

    /// The Role lacks a verb.
    pub fn forbidden(verb: &str, resource: &str, group: &str) -> Self {
        let plural = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let message = format!(
            "{plural} is forbidden: User \"system:serviceaccount:default:dispatcher\" cannot {verb} resource \
             \"{resource}\" in API group \"{group}\" in the namespace \"default\""
        );
        Self::status(403, "Forbidden", &message, &Value::Null)
    }

    /// The namespace is being removed.
    pub fn terminating(namespace: &str) -> Self {
        let message = format!(
            "jobs.batch \"a\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated"
        );
        let cause = format!("namespace {namespace} is being terminated");
        let details = json!({"causes": [{"reason": "NamespaceTerminating", "message": cause, "field": "metadata.namespace"}]});
        Self::status(403, "Forbidden", &message, &details)
    }

    /// Somebody else wrote the quota at the same time.
    pub fn conflict() -> Self {
        let message = "Operation cannot be fulfilled on resourcequotas \"jobs\": the object has been modified; \
                       please apply your changes to the latest version and try again";
        Self::status(409, "Conflict", message, &Value::Null)
    }

    /// The version is too old; a watch gets this as a status inside its answer.
    pub fn expired() -> Self {
        Self::status(410, "Expired", "too old resource version: 1 (2)", &Value::Null)
    }

    /// A `Status` object.
    pub fn status(code: u16, reason: &str, message: &str, details: &Value) -> Self {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code,
        });
        Self::Answer { code, body: body.to_string(), retry_after: None }
    }
}
