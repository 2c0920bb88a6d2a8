//! How a Job ended, in words that every backend shares.

use std::fmt;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A termination message has at most this many bytes, as in Kubernetes.
pub(super) const MAX_TERMINATION_MESSAGE: usize = 4096;

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Complete {
        /// What the worker said about it.
        report: Report,
    },
    /// Failed for good: running it again changes nothing.
    Failed {
        /// Which rule ended it.
        cause: Cause,
        /// The exit code of the last try, if there was one.
        exit_code: Option<i32>,
        /// What happened, for people.
        message: String,
        /// What the worker said about it.
        report: Report,
    },
    /// Failed, but a later run may succeed.
    TryAgain {
        /// Which rule ended it.
        cause: Cause,
        /// The exit code of the last try, if there was one.
        exit_code: Option<i32>,
        /// What happened, for people.
        message: String,
        /// What the worker said about it.
        report: Report,
    },
    /// The dispatcher is stopping: handed back before its end.
    Stopped,
}

impl Outcome {
    /// The same where no further delivery follows: what was to be tried again has failed for good.
    #[must_use]
    pub fn given_up(self, deliveries: u64) -> Self {
        match self {
            Self::TryAgain { cause, exit_code, message, report } => {
                let message = format!("given up after {deliveries} attempts: {message}");
                Self::Failed { cause, exit_code, message, report }
            }
            ended => ended,
        }
    }
}

/// Why a Job did not complete. The words are those of a Kubernetes Job's conditions where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// A rule of `podFailurePolicy` with the action `FailJob`.
    PodFailurePolicy,
    /// More failures than `backoffLimit`.
    BackoffLimitExceeded,
    /// Longer than `activeDeadlineSeconds`.
    DeadlineExceeded,
    /// No such image: on the process backend, no such binary.
    ImageNotFound,
    /// A Secret, ConfigMap or key is missing, or the environment cannot be given to a process.
    ConfigurationError,
    /// The event could not be planned with the manifests in force: there is no Job.
    NotPlanned,
    /// The quota of its namespace is spent.
    QuotaExceeded,
    /// It fits no node.
    Unschedulable,
    /// The backend could not start or follow it.
    BackendError,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The termination message of a worker: one JSON line, or whatever text another program left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report(String);

impl Report {
    /// From what the Job left behind; cut at 4096 bytes.
    pub fn from_text(text: &str) -> Self {
        let mut end = text.len().min(MAX_TERMINATION_MESSAGE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text[..end].trim().to_owned())
    }

    /// The termination message, or where there is none the last line of the output.
    pub(super) fn from_end(message: &str, output: &str) -> Self {
        if message.trim().is_empty() {
            Self::from_text(output.trim_end().lines().next_back().unwrap_or_default())
        } else {
            Self::from_text(message)
        }
    }

    /// The text as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its fields, where it is a JSON object.
    pub fn fields(&self) -> Option<Value> {
        serde_json::from_str(&self.0).ok().filter(Value::is_object)
    }

    /// The exit code that the worker said it would end with.
    pub fn exit_code(&self) -> Option<i32> {
        self.fields()?.get("exit_code")?.as_i64()?.try_into().ok()
    }

    /// The worker's own message of its failure, or its text.
    pub fn message(&self) -> Option<String> {
        let said = match self.fields() {
            Some(fields) => ["message", "error"].iter().find_map(|name| match fields.get(*name)? {
                Value::String(text) => Some(text.clone()),
                Value::Object(error) => error.get("message")?.as_str().map(str::to_owned),
                _ => None,
            })?,
            None => self.0.clone(),
        };
        Some(said).filter(|said| !said.is_empty())
    }
}

/// One Job taken to its end.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// Tries so far, adopted ones included.
    pub attempts: u32,
    /// True where this dispatcher did not start it.
    pub adopted: bool,
    /// When the first try started; `None` where nothing was started.
    pub started_at: Option<SystemTime>,
    /// The tries before the last one, oldest first, as far as the backend knows them.
    pub earlier: Vec<Try>,
}

/// A try that failed and was followed by another one of the same Job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// Its exit code, where there is one.
    pub exit_code: Option<i32>,
    /// What happened, for people.
    pub message: String,
}

impl Ran {
    /// Ended before anything was started.
    pub fn refused(cause: Cause, message: impl Into<String>) -> Self {
        let outcome =
            Outcome::Failed { cause, exit_code: None, message: message.into(), report: Report::default() };
        Self { outcome, ..Self::stopped() }
    }

    /// Handed back before anything was started.
    pub const fn stopped() -> Self {
        let earlier = Vec::new();
        Self { outcome: Outcome::Stopped, attempts: 0, adopted: false, started_at: None, earlier }
    }

    /// Not started, because of something that may pass.
    pub fn postponed(message: impl Into<String>) -> Self {
        let cause = Cause::BackendError;
        let outcome =
            Outcome::TryAgain { cause, exit_code: None, message: message.into(), report: Report::default() };
        Self { outcome, ..Self::stopped() }
    }
}

/// Why nothing was started.
#[derive(Debug)]
pub(super) enum StartError {
    /// It never will be, as things are.
    Refused(Cause, String),
    /// Not this time.
    Later(String),
}

impl From<StartError> for Ran {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Refused(cause, message) => Self::refused(cause, message),
            StartError::Later(message) => Self::postponed(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_report_is_cut_on_a_character() {
        let report = Report::from_text(&"é".repeat(4000));
        assert_eq!(report.as_str().len(), 4096);
    }

    #[test]
    fn a_result_line_gives_exit_code_and_message() {
        let report =
            Report::from_text(r#"{"exit_code":75,"error":{"class":"unavailable","message":"no database"}}"#);
        assert_eq!((report.exit_code(), report.message().as_deref()), (Some(75), Some("no database")));
        let text = Report::from_text("Segmentation fault\n");
        assert_eq!((text.exit_code(), text.message().as_deref()), (None, Some("Segmentation fault")));
        assert_eq!(Report::default().message(), None);
    }
}
