//! Reports every Job to observers: when it is handed to the backend, and when it has ended. No observer may delay a
//! Job.
//!
//! Gets everything from the engine, and writes nothing itself. History and traces are observers.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use crate::traces::Traces;
use history::History;
use job::JobRun;

/// Reports to all observers. Cheap to clone. The default has no observer.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<[Watcher]>);

/// An observer. Each gets its own copy, and returns at once.
#[derive(Clone, Debug)]
pub enum Watcher {
    /// Keeps the history for page and commands.
    History(History),
    /// Makes spans of Jobs.
    Traces(Traces),
    /// Records everything, for tests.
    Recording(Arc<Mutex<Vec<JobRun>>>),
}

impl Observer {
    /// Reports to these observers.
    pub fn new(watchers: impl IntoIterator<Item = Watcher>) -> Self {
        Self(watchers.into_iter().collect())
    }

    /// Reports that a Job was handed to the backend, or has ended. Never waits.
    pub fn job(&self, run: &JobRun) {
        for watcher in self.0.iter() {
            match watcher {
                Watcher::History(history) => history.record(run),
                Watcher::Traces(traces) => traces.record(run),
                Watcher::Recording(seen) => {
                    seen.lock().push(run.clone());
                }
            }
        }
    }

    /// Returns once the reports about this event would outlive this process, or after a short time.
    pub async fn until_kept(&self, event_id: &str, published_at: DateTime<Utc>) {
        for watcher in self.0.iter() {
            if let Watcher::History(history) = watcher {
                history.until_written(event_id, published_at).await;
            }
        }
    }
}
