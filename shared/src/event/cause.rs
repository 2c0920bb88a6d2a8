//! The event that caused this run, from the Job's variables, and the event that follows from it.
//!
//! Reads `EVENT_ID`, `EVENT_TIME`, `TRACEPARENT`, `CORRELATION_ID`, `HOP_COUNT`.

use chrono::{DateTime, Utc};
use cloudevents::{EventBuilder, EventBuilderV10};
use serde_json::json;

use super::{Announcement, Kind, MAX_HOPS, Outgoing, SOURCE, derive_id, to_json};
use crate::config::{Described, Environment, Variables};
use crate::error::{Error, Result};
use crate::telemetry::TraceContext;
use crate::variables;

const MAX_ID_CHARACTERS: usize = 255;

variables! {
    struct Facts {
        job {
            id: Option<String> = "EVENT_ID", "its id; derived from the input where it is missing";
            time: Option<DateTime<Utc>> = "EVENT_TIME", "its time, RFC 3339";
            traceparent: Option<String> = "TRACEPARENT", "its trace, W3C Trace Context";
            correlation_id: Option<String> = "CORRELATION_ID", "id of the first event of the chain";
            hop_count: Option<u32> = "HOP_COUNT", "how many events came before it; 32 are a loop";
        }
    }
}

/// The causing event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Its id; derived from the input if the Job has none.
    pub id: String,
    /// When it happened, if that is known.
    pub time: Option<DateTime<Utc>>,
    trace: TraceContext,
    correlation_id: String,
    hop_count: u32,
}

impl Cause {
    /// Its variables, for the help.
    pub(crate) fn variables() -> Vec<Described> {
        Facts::job()
    }

    /// From the Job's variables. Without `EVENT_ID`, the variables `inputs` identify the input.
    pub fn read(environment: &Environment, step: &str, inputs: &[&str]) -> Result<Self> {
        let facts = Facts::read(environment)?;
        let id = facts.id.unwrap_or_else(|| environment.identity(step, inputs).to_string());
        if id.chars().count() > MAX_ID_CHARACTERS {
            return Err(Error::input(format!("EVENT_ID has more than {MAX_ID_CHARACTERS} characters")));
        }
        let hop_count = facts.hop_count.unwrap_or(0);
        if hop_count >= MAX_HOPS {
            return Err(Error::input(format!("the event came over {hop_count} hops; {MAX_HOPS} are a loop")));
        }
        let correlation_id = facts.correlation_id.unwrap_or_else(|| id.clone());
        let trace = TraceContext::parse_or_derive(facts.traceparent.as_deref(), &correlation_id);
        Ok(Self { id, time: facts.time, trace, correlation_id, hop_count })
    }

    /// The event that `step` emits because of this one. With the same cause, step and subject it has the same id.
    pub fn follow(
        &self,
        step: &str,
        kind: Kind,
        nats_subject: &str,
        next: &Announcement,
    ) -> Result<Outgoing> {
        let id = derive_id(&format!("{}\n{step}\n{}", self.id, next.subject)).to_string();
        let event = EventBuilderV10::new()
            .id(&id)
            .source(SOURCE)
            .ty(kind.ty())
            .subject(next.subject.to_string())
            .time(Utc::now())
            .data("application/json", next.data.clone())
            .extension("traceparent", self.trace.child(&format!("{}\n{step}", self.id)).to_string())
            .extension("correlationid", self.correlation_id.clone())
            .extension("causationid", self.id.clone())
            .extension("hopcount", i64::from(self.hop_count + 1))
            .build()
            .map_err(|error| Error::bug("an event of ours is not a CloudEvent").because(error))?;
        Ok(Outgoing { id, nats_subject: nats_subject.to_owned(), payload: to_json(&event)? })
    }

    /// The fields of the result line that identify this event.
    pub fn report(&self) -> serde_json::Value {
        json!({ "id": self.id, "correlation_id": self.correlation_id, "traceparent": self.trace.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn cause(pairs: &[(&str, &str)]) -> Result<Cause> {
        Cause::read(&Environment::from_pairs(pairs.iter().copied()), "save-user", &["USER_EMAIL"])
    }

    fn follow(cause: &Cause, subject: Uuid) -> (String, Value) {
        let next = Announcement { subject, data: json!({"a": 1}) };
        let outgoing =
            cause.follow("save-user", Kind::WelcomeEmailSent, "welcome-email-sent", &next).unwrap();
        (outgoing.id, serde_json::from_str(&outgoing.payload).unwrap())
    }

    #[test]
    fn a_repeat_emits_the_same_id_and_another_subject_another() {
        let cause = cause(&[("EVENT_ID", "e1")]).unwrap();
        let subject = derive_id("customer");
        assert_eq!(follow(&cause, subject).0, follow(&cause, subject).0);
        assert_ne!(follow(&cause, subject).0, follow(&cause, derive_id("other")).0);
    }

    #[test]
    fn the_chain_is_carried_on() {
        let variables =
            [("EVENT_ID", "e2"), ("CORRELATION_ID", "e1"), ("HOP_COUNT", "4"), ("TRACEPARENT", TRACE)];
        let (_, event) = follow(&cause(&variables).unwrap(), derive_id("c"));
        assert_eq!(event["causationid"], "e2");
        assert_eq!(event["correlationid"], "e1");
        assert_eq!(event["hopcount"], 5);
        let traceparent = event["traceparent"].as_str().unwrap();
        assert!(traceparent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{traceparent}");
        assert_ne!(traceparent, TRACE);
        assert_eq!(event["source"], SOURCE);
        assert_eq!(event["datacontenttype"], "application/json");
    }

    #[test]
    fn without_an_event_id_the_same_input_has_the_same_one() {
        let one = cause(&[("USER_EMAIL", "a@x.io")]).unwrap();
        assert_eq!(one.id, cause(&[("USER_EMAIL", "a@x.io")]).unwrap().id);
        assert_ne!(one.id, cause(&[("USER_EMAIL", "b@x.io")]).unwrap().id);
    }

    #[test]
    fn a_loop_ends_at_32_hops() {
        assert!(cause(&[("HOP_COUNT", "31")]).is_ok());
        assert_eq!(cause(&[("HOP_COUNT", "32")]).unwrap_err().class().exit_code(), 65);
    }

    #[test]
    fn hostile_variables_are_input_errors() {
        assert_eq!(cause(&[("EVENT_TIME", "yesterday")]).unwrap_err().class().exit_code(), 65);
        assert_eq!(cause(&[("HOP_COUNT", "-1")]).unwrap_err().class().exit_code(), 65);
        assert_eq!(cause(&[("EVENT_ID", &"x".repeat(256))]).unwrap_err().class().exit_code(), 65);
    }
}
