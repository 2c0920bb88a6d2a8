//! What a run reports about itself: the time of each phase, its trace, and its one result line.
//!
//! The line is written to the termination message file (`TERMINATION_LOG`, otherwise `/dev/termination-log` if it
//! exists), and is always the last line of the output. Workers export nothing else.
//!
//! ```
//! use shared::telemetry::TraceContext;
//!
//! let first = TraceContext::parse_or_derive(None, "event-1");
//! let next = first.child("event-1, save-user");
//! assert_eq!(first.trace_id(), next.trace_id());
//! assert_ne!(first.parent_id(), next.parent_id());
//! ```

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::config::FilePath;
use crate::error::{Class, Error};
use crate::{event, private, visible};

/// The size that Kubernetes keeps of a termination message.
const MAX_BYTES: usize = 4096;
const MAX_MESSAGE_CHARACTERS: usize = 800;
const MAX_LISTED_EVENTS: usize = 20;
const KUBERNETES_PATH: &str = "/dev/termination-log";

/// The phases of a run, in order. A run that ends early has only the first ones.
pub const PHASES: [&str; 6] = ["validate", "connect", "claim", "act", "record", "publish"];

/// The W3C trace context that a chain of events carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: String,
    parent_id: String,
    flags: String,
}

impl TraceContext {
    /// Reads a `traceparent`. If it is missing or malformed, the trace is derived from `seed`.
    pub fn parse_or_derive(traceparent: Option<&str>, seed: &str) -> Self {
        traceparent.and_then(Self::parse).unwrap_or_else(|| {
            let trace_id = event::derive_id(&format!("trace\n{seed}")).simple().to_string();
            Self { trace_id, parent_id: span_id(seed), flags: "01".to_owned() }
        })
    }

    /// Reads a `traceparent` (W3C Trace Context, version 00).
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<_> = text.trim().split('-').collect();
        let [version, trace_id, parent_id, flags] = parts[..] else { return None };
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let zero = |text: &str| text.bytes().all(|b| b == b'0');
        let valid = version == "00"
            && hex(trace_id, 32)
            && hex(parent_id, 16)
            && hex(flags, 2)
            && !zero(trace_id)
            && !zero(parent_id);
        valid.then(|| Self {
            trace_id: trace_id.to_owned(),
            parent_id: parent_id.to_owned(),
            flags: flags.to_owned(),
        })
    }

    /// The trace, 32 hex digits.
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The span in which the event was sent, 16 hex digits.
    pub fn parent_id(&self) -> &str {
        &self.parent_id
    }

    /// Whether the sender keeps this trace.
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.flags, 16).is_ok_and(|flags| flags & 1 == 1)
    }

    /// The same trace with a new parent span, whose id is derived from `seed`.
    #[must_use]
    pub fn child(&self, seed: &str) -> Self {
        Self { parent_id: span_id(seed), ..self.clone() }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{}", self.trace_id, self.parent_id, self.flags)
    }
}

/// The span id for this seed: always the same.
pub fn span_id(seed: &str) -> String {
    event::derive_id(&format!("span\n{seed}")).simple().to_string()[..16].to_owned()
}

/// How a successful run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The effect took place now.
    Done,
    /// It had already taken place; the recorded events were published again.
    Repeated,
}

/// Collects the contents of the result line.
pub struct Report {
    step: &'static str,
    started_at: DateTime<Utc>,
    started: Instant,
    mark: Instant,
    phases: Map<String, Value>,
    fields: Map<String, Value>,
}

impl Report {
    /// Starts the clock.
    pub fn start(step: &'static str) -> Self {
        let now = Instant::now();
        Self { step, started_at: Utc::now(), started: now, mark: now, phases: Map::new(), fields: Map::new() }
    }

    /// Ends a phase, which gets the time since the last one. If a phase comes again, its times are added.
    pub fn phase(&mut self, name: &str) {
        let now = Instant::now();
        let before = self.phases.get(name).and_then(Value::as_f64).unwrap_or_default();
        self.phases.insert(name.to_owned(), json!(before + milliseconds(now - self.mark)));
        self.mark = now;
    }

    /// A fact about this run, such as the customer or the id of a mail.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// The ids of the events that were published.
    pub fn emitted(&mut self, ids: &[&str]) {
        self.set("emitted_count", ids.len());
        self.set("emitted", ids.iter().take(MAX_LISTED_EVENTS).copied().collect::<Vec<_>>());
    }

    /// The line, as JSON of at most 4096 bytes.
    pub fn line(mut self, end: Result<Outcome, &Error>) -> String {
        self.phases.insert("total".to_owned(), json!(milliseconds(self.started.elapsed())));
        let (outcome, exit_code) = match &end {
            Ok(Outcome::Done) => ("done", 0),
            Ok(Outcome::Repeated) => ("repeated", 0),
            Err(error) => (outcome_of(error.class()), error.class().exit_code()),
        };
        let mut line = json!({ "step": self.step, "outcome": outcome, "exit_code": exit_code });
        if let Err(error) = end {
            let message: String = error.to_string().chars().take(MAX_MESSAGE_CHARACTERS).collect();
            line["error"] =
                json!({ "class": error.class(), "message": message, "retry": error.class().retry() });
        }
        line["started_at"] = self.started_at.to_rfc3339_opts(SecondsFormat::Micros, true).into();
        line["timings_ms"] = Value::Object(self.phases);
        for (name, value) in self.fields {
            line[name] = value;
        }
        fitted(line)
    }
}

/// Shortens the line to 4096 bytes: first the lists are removed, then the message is cut.
fn fitted(mut line: Value) -> String {
    let written = |line: &Value| visible::json(&line.to_string()).into_owned();
    let mut text = written(&line);
    if text.len() > MAX_BYTES {
        line["emitted"] = json!([]);
        line["event"] = Value::Null;
        text = written(&line);
    }
    while text.len() > MAX_BYTES {
        let Some(message) = line["error"]["message"].as_str().filter(|message| !message.is_empty()) else {
            break;
        };
        let half: String = message.chars().take(message.chars().count() / 2).collect();
        line["error"]["message"] = Value::String(half);
        text = written(&line);
    }
    text
}

const fn outcome_of(class: Class) -> &'static str {
    match class {
        Class::Input => "rejected",
        Class::Configuration | Class::Credentials => "misconfigured",
        Class::Unavailable => "unavailable",
        Class::Stopped => "stopped",
        Class::Bug => "bug",
    }
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    // A double holds whole microseconds exactly for 285 years.
    #[expect(clippy::cast_precision_loss)]
    let value = duration.as_micros() as f64 / 1000.0;
    value
}

/// Writes the line where the platform reads it. If that fails, it must not change how the run ends.
pub fn publish_line(line: &str) {
    use std::io::Write;
    let path = std::env::var_os("TERMINATION_LOG").map(PathBuf::from).or_else(|| {
        let path = PathBuf::from(KUBERNETES_PATH);
        path.exists().then_some(path)
    });
    if let Some(path) = path
        && let Err(error) = private::fill(&path, line.as_bytes())
    {
        drop(writeln!(
            std::io::stderr(),
            "cannot write the termination message to {}: {error}",
            FilePath::from(path)
        ));
    }
    drop(writeln!(std::io::stdout(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_is_taken_over() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(TraceContext::parse(good).unwrap().to_string(), good);
        for bad in
            ["", "00", &good.to_uppercase(), &good.replace("4bf9", "zzzz"), &good.replacen("00", "ff", 1)]
        {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
        let derived = TraceContext::parse_or_derive(Some("garbage"), "e1");
        assert_eq!(derived, TraceContext::parse_or_derive(None, "e1"));
        assert!(TraceContext::parse(&derived.to_string()).is_some());
        assert!(derived.is_sampled());
        assert!(!TraceContext::parse(&good.replace("-01", "-02")).unwrap().is_sampled());
    }

    #[test]
    fn the_line_tells_the_failure_and_whether_to_retry() {
        let error = Error::unavailable("cannot reach the database at db:3306");
        let line: Value = serde_json::from_str(&Report::start("save-user").line(Err(&error))).unwrap();
        assert_eq!(line["exit_code"], 75);
        assert_eq!(line["error"]["class"], "unavailable");
        assert_eq!(line["error"]["retry"], true);
        assert!(line["timings_ms"]["total"].is_number());
        assert!(line["started_at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap() <= Utc::now());
    }

    #[test]
    fn the_line_fits_a_termination_message_whatever_happens() {
        let mut report = Report::start("save-customer");
        let ids = vec!["😀".repeat(100); 100];
        report.emitted(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        report.set("event", json!({ "id": "\u{9b}".repeat(255) }));
        let error = Error::input("\u{1}\u{9b}".repeat(2500));
        let line = report.line(Err(&error));
        assert!(line.len() <= MAX_BYTES, "{}", line.len());
        assert!(!line.contains(char::is_control), "{line}");
        assert!(line.contains("rejected"));
    }
}
