//! How a Job ended, in types that every backend shares.

use std::fmt;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most bytes of a termination message, as in Kubernetes.
pub const MAX_TERMINATION_MESSAGE: usize = 4096;

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It succeeded.
    Complete {
        /// What the worker reported.
        report: Report,
    },
    /// Failed for good: another run would not help.
    Failed {
        /// The class of the failure.
        #[serde(rename = "cause")]
        class: FailureClass,
        /// The exit code of the last try, if there was one.
        exit_code: Option<i32>,
        /// What happened, for operators.
        message: String,
        /// What the worker reported.
        report: Report,
    },
    /// Failed, but a later run may succeed.
    TryAgain {
        /// The class of the failure.
        #[serde(rename = "cause")]
        class: FailureClass,
        /// The exit code of the last try, if there was one.
        exit_code: Option<i32>,
        /// What happened, for operators.
        message: String,
        /// What the worker reported.
        report: Report,
    },
    /// The dispatcher is stopping, so the event was handed back before the Job ended.
    Stopped,
}

impl Outcome {
    /// Whether another run for the same event is wanted; otherwise this outcome counts.
    pub fn asks_for_another(&self) -> bool {
        match self {
            Self::TryAgain { .. } | Self::Stopped => true,
            Self::Failed { report, .. } => report.refused_credentials(),
            Self::Complete { .. } => false,
        }
    }

    /// As [`Self::asks_for_another`], and also true if a server refused a password, because it may be about to
    /// change.
    #[must_use]
    pub fn while_passwords_change(self) -> Self {
        match self {
            Self::Failed { exit_code, message, report, .. } if report.refused_credentials() => {
                Self::TryAgain { class: FailureClass::CredentialsRefused, exit_code, message, report }
            }
            other => other,
        }
    }

    /// The same outcome when no further attempt follows: it has failed for good.
    #[must_use]
    pub fn given_up(self, attempts: u64) -> Self {
        match self {
            Self::TryAgain { class, exit_code, message, report } if class.uses_an_attempt() => {
                let message = format!("given up after {attempts} attempts: {message}");
                Self::Failed { class, exit_code, message, report }
            }
            ended => ended,
        }
    }
}

/// Why a Job did not complete. The names are those of a Kubernetes Job's conditions, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// A rule of `podFailurePolicy` with the action `FailJob`.
    PodFailurePolicy,
    /// More failed tries than `backoffLimit`.
    BackoffLimitExceeded,
    /// It ran longer than `activeDeadlineSeconds`.
    DeadlineExceeded,
    /// The image does not exist; on the process backend, the binary.
    ImageNotFound,
    /// A Secret, ConfigMap or key is missing, or the environment cannot be given to a process.
    ConfigurationError,
    /// The present manifests cannot plan the event, so there is no Job.
    NotPlanned,
    /// The quota of its namespace is used up.
    QuotaExceeded,
    /// A Job of somebody else has the name.
    NameTaken,
    /// It fits no node.
    Unschedulable,
    /// The backend could not start or follow it.
    BackendError,
    /// The backend itself fails, or accepts no Jobs from this dispatcher. The event is not the reason.
    BackendFailing,
    /// This machine lacks something, such as files, memory or disk, and nothing was started.
    LocalShortage,
    /// Its image is being replaced, and nothing was started.
    ImageReplaced,
    /// A server refuses the worker's password, which may be about to change.
    CredentialsRefused,
}

impl FailureClass {
    /// Whether this failure counts as an attempt, against `--max-attempts`. OPERATIONS.md has a table of what does
    /// not count.
    pub const fn uses_an_attempt(self) -> bool {
        !matches!(
            self,
            Self::BackendFailing | Self::LocalShortage | Self::ImageReplaced | Self::CredentialsRefused
        )
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The termination message of a worker: one JSON line, or any text that another program left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report(String);

impl Report {
    /// From what the Job left; cut at 4096 bytes.
    pub fn from_text(text: &str) -> Self {
        let mut end = text.len().min(MAX_TERMINATION_MESSAGE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text[..end].trim().to_owned())
    }

    /// The termination message, or the last line of the output if there is none.
    pub fn from_end(message: &str, output: &str) -> Self {
        if message.trim().is_empty() {
            Self::from_text(output.trim_end().lines().next_back().unwrap_or_default())
        } else {
            Self::from_text(message)
        }
    }

    /// The text, unchanged.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its fields, if it is a JSON object.
    pub fn fields(&self) -> Option<Value> {
        serde_json::from_str(&self.0).ok().filter(Value::is_object)
    }

    /// The exit code with which the worker said it would end.
    pub fn exit_code(&self) -> Option<i32> {
        self.fields()?.get("exit_code")?.as_i64()?.try_into().ok()
    }

    /// Whether a server refused the worker's password, token or the like.
    pub fn refused_credentials(&self) -> bool {
        self.fields().is_some_and(|fields| fields["error"]["class"] == "credentials")
    }

    /// The worker's own failure message, or its text.
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

/// The result of one Job.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// The number of tries so far, including those before it was adopted.
    pub tries: u32,
    /// Whether another dispatcher or process started it.
    pub adopted: bool,
    /// When the first try started; `None` if nothing was started.
    pub started_at: Option<SystemTime>,
    /// The tries before the last one, oldest first, as far as the backend knows them.
    pub earlier: Vec<Try>,
}

/// A failed try that was followed by another try of the same Job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// Its exit code, if there is one.
    pub exit_code: Option<i32>,
    /// What happened, for operators.
    pub message: String,
}

impl Ran {
    /// The Job ended before anything was started.
    pub fn refused(class: FailureClass, message: impl Into<String>) -> Self {
        let outcome =
            Outcome::Failed { class, exit_code: None, message: message.into(), report: Report::default() };
        Self { outcome, ..Self::stopped() }
    }

    /// The event was handed back before anything was started.
    pub const fn stopped() -> Self {
        let earlier = Vec::new();
        Self { outcome: Outcome::Stopped, tries: 0, adopted: false, started_at: None, earlier }
    }

    /// Nothing was started, because of trouble that may pass.
    pub fn postponed(class: FailureClass, message: impl Into<String>) -> Self {
        let outcome =
            Outcome::TryAgain { class, exit_code: None, message: message.into(), report: Report::default() };
        Self { outcome, ..Self::stopped() }
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
