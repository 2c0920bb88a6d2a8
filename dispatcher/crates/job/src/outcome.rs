//! How a Job ended, in types that every backend shares.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::FailureClass;

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
    Failed(Failure),
    /// Failed, but a later run may succeed.
    TryAgain(Failure),
    /// The dispatcher is stopping, so the event was handed back before the Job ended.
    Stopped,
}

impl Outcome {
    /// Whether another run for the same event is wanted; otherwise this outcome counts.
    pub fn asks_for_another(&self) -> bool {
        match self {
            Self::TryAgain(_) | Self::Stopped => true,
            Self::Failed(failure) => failure.report.refused_credentials(),
            Self::Complete { .. } => false,
        }
    }

    /// As [`Self::asks_for_another`], and also true if a server refused a password, because it may be about to
    /// change.
    #[must_use]
    pub fn while_passwords_change(self) -> Self {
        match self {
            Self::Failed(failure) if failure.report.refused_credentials() => {
                Self::TryAgain(Failure { class: FailureClass::CredentialsRefused, ..failure })
            }
            other => other,
        }
    }

    /// The same outcome when no further attempt follows: it has failed for good.
    #[must_use]
    pub fn given_up(self, attempts: u64) -> Self {
        match self {
            Self::TryAgain(failure) if failure.class.uses_an_attempt() => {
                Self::Failed(failure.given_up(attempts))
            }
            ended => ended,
        }
    }
}

/// Why an event or a Job failed: from the backend to the dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class of the failure.
    #[serde(rename = "cause")]
    pub class: FailureClass,
    /// The exit code of the last try, if there was one.
    pub exit_code: Option<i32>,
    /// What happened, in one sentence for operators.
    pub message: String,
    /// What the worker reported.
    pub report: Report,
}

impl Failure {
    /// A failure without a try.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), ..Self::default() }
    }

    /// The outcome of a Job that failed so.
    pub fn outcome(self, retry_helps: bool) -> Outcome {
        if retry_helps { Outcome::TryAgain(self) } else { Outcome::Failed(self) }
    }

    /// The same failure when no further attempt follows.
    #[must_use]
    pub fn given_up(self, attempts: u64) -> Self {
        Self { message: format!("given up after {attempts} attempts: {}", self.message), ..self }
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
        Self { outcome: Outcome::Failed(Failure::new(class, message)), ..Self::stopped() }
    }

    /// The event was handed back before anything was started.
    pub const fn stopped() -> Self {
        let earlier = Vec::new();
        Self { outcome: Outcome::Stopped, tries: 0, adopted: false, started_at: None, earlier }
    }

    /// Nothing was started, because of trouble that may pass.
    pub fn postponed(class: FailureClass, message: impl Into<String>) -> Self {
        Self { outcome: Outcome::TryAgain(Failure::new(class, message)), ..Self::stopped() }
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
