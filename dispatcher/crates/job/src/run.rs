//! One Job of one delivery of an event, and the event that caused it.

use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use crate::{Outcome, Ran, Try};

/// The event that caused a Job, as it was taken from the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFacts {
    /// The CloudEvent's `id`.
    pub id: String,
    /// The CloudEvent's `type`.
    pub event_type: String,
    /// The CloudEvent's `source`.
    pub source: String,
    /// The CloudEvent's `subject`, empty if it has none.
    pub subject: String,
    /// The NATS subject that it was published on.
    pub nats_subject: String,
    /// The extension `correlationid`: the id of the chain's first event.
    pub correlation_id: Option<String>,
    /// The extension `traceparent`.
    pub traceparent: Option<String>,
    /// The key of its flow: what the event is about.
    pub flow_key: String,
    /// The name for that key, if it is known.
    pub flow_name: String,
    /// How often it was replayed from the dead letters.
    pub replay: u32,
    /// When the bus stored it.
    pub published_at: DateTime<Utc>,
    /// When this dispatcher took it from the bus.
    pub taken_at: DateTime<Utc>,
    /// The number of attempts, including this one.
    pub attempt: u64,
    /// The number of deliveries, including this one.
    pub delivery: u64,
}

/// One Job of one delivery of an event.
#[derive(Clone, Debug)]
pub struct JobRun {
    /// The EventTrigger's name.
    pub trigger: String,
    /// The Job's namespace.
    pub namespace: String,
    /// The Job's name.
    pub name: String,
    /// The image of its first container.
    pub image: String,
    /// [`crate::Identity::event_hash`]: identifies the run together with trigger, namespace and name.
    pub event_hash: String,
    /// The event.
    pub event: Arc<EventFacts>,
    /// When it was handed to the backend.
    pub handed_at: DateTime<Utc>,
    /// The state of the Job.
    pub state: State,
}

/// The state of a Job.
#[derive(Clone, Debug)]
pub enum State {
    /// It was handed to the backend.
    Running,
    /// It has ended.
    Ended {
        /// When its first try started; `None` if nothing was started.
        started_at: Option<DateTime<Utc>>,
        /// When this dispatcher learned of the end.
        ended_at: DateTime<Utc>,
        /// The number of tries so far, including those before it was adopted.
        tries: u32,
        /// Whether another dispatcher or process started it.
        adopted: bool,
        /// The tries before the last one, as far as they are known.
        earlier: Vec<Try>,
        /// How it ended, with the worker's own report.
        outcome: Outcome,
    },
}

impl JobRun {
    /// The same run, ended now.
    #[must_use]
    pub fn ended(self, ran: &Ran) -> Self {
        let state = State::Ended {
            started_at: ran.started_at.map(DateTime::from),
            ended_at: SystemTime::now().into(),
            tries: ran.tries,
            adopted: ran.adopted,
            earlier: ran.earlier.clone(),
            outcome: ran.outcome.clone(),
        };
        Self { state, ..self }
    }
}
