//! Who is told of every Job: when it is handed to the backend, and when it ended. Nobody who is told may keep a Job waiting.
//!
//! Reads what the engine knows; writes nothing itself. History and traces hang on it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use crate::backend::{Outcome, Try};
use crate::history::History;
use crate::traces::Traces;

/// Tells everyone who wants to know. Cheap to clone; the default tells nobody.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<[Watcher]>);

/// One who wants to know. Each takes its copy and returns at once.
#[derive(Clone, Debug)]
pub enum Watcher {
    /// Keeps the history for page and commands.
    History(History),
    /// Makes spans of it.
    Traces(Traces),
    /// Remembers everything: for tests.
    Recording(Arc<Mutex<Vec<JobRun>>>),
}

/// The event behind a Job, as it was taken from the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The CloudEvent's `id`.
    pub id: String,
    /// The CloudEvent's `type`.
    pub event_type: String,
    /// The CloudEvent's `source`.
    pub source: String,
    /// The CloudEvent's `subject`, empty if it has none.
    pub subject: String,
    /// Where it was published.
    pub nats_subject: String,
    /// The extension `correlationid`: the id of the chain's first event.
    pub correlation_id: Option<String>,
    /// The extension `traceparent`.
    pub traceparent: Option<String>,
    /// Whom it is about: the customer its data names, or its subject.
    pub customer: String,
    /// The customer's name, where the data has it.
    pub customer_name: String,
    /// How often it came back from the dead letters.
    pub replay: u32,
    /// When the bus took it.
    pub published_at: DateTime<Utc>,
    /// When this dispatcher took it from the bus.
    pub taken_at: DateTime<Utc>,
    /// How often it was delivered, this time included.
    pub attempt: u64,
}

/// One Job for one delivery of an event.
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
    /// [`crate::plan::Identity::event_hash`]: with trigger, namespace and name the identity of the run.
    pub event_hash: String,
    /// The event.
    pub cause: Arc<Cause>,
    /// When it was handed to the backend.
    pub handed_at: DateTime<Utc>,
    /// How it went.
    pub state: State,
}

/// How far a Job has come.
#[derive(Clone, Debug)]
pub enum State {
    /// The backend has it.
    Running,
    /// It is at its end.
    Ended {
        /// When its first try started; `None` where nothing was started.
        started_at: Option<DateTime<Utc>>,
        /// When this dispatcher learned of the end.
        ended_at: DateTime<Utc>,
        /// Tries so far, adopted ones included.
        tries: u32,
        /// True where this dispatcher did not start it.
        adopted: bool,
        /// The tries before the last one, as far as they are known.
        earlier: Vec<Try>,
        /// How it ended, with the worker's own words.
        outcome: Outcome,
    },
}

impl Observer {
    /// Tells these.
    pub fn new(watchers: impl IntoIterator<Item = Watcher>) -> Self {
        Self(watchers.into_iter().collect())
    }

    /// A Job was handed to the backend, or ended. Never waits.
    pub fn job(&self, run: &JobRun) {
        for watcher in self.0.iter() {
            match watcher {
                Watcher::History(history) => history.record(run),
                Watcher::Traces(traces) => traces.record(run),
                Watcher::Recording(seen) => {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(run.clone());
                }
            }
        }
    }

    /// Returns once what was told before would outlive this process, or soon.
    pub async fn until_kept(&self) {
        for watcher in self.0.iter() {
            if let Watcher::History(history) = watcher {
                history.until_written().await;
            }
        }
    }
}

impl JobRun {
    /// The same run at its end, now.
    #[must_use]
    pub fn ended(self, ran: &crate::backend::Ran) -> Self {
        let state = State::Ended {
            started_at: ran.started_at.map(DateTime::from),
            ended_at: SystemTime::now().into(),
            tries: ran.attempts,
            adopted: ran.adopted,
            earlier: ran.earlier.clone(),
            outcome: ran.outcome.clone(),
        };
        Self { state, ..self }
    }
}
