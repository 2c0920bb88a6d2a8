//! What became of every Job: one row for each run. Dispatchers write the rows, and pages and commands read them, so
//! that all agree. Everything else is computed from these rows when it is needed.
//!
//! Reads and writes the table `job_runs` in the database of the flow, if one is configured (`DATABASE_URL` or
//! `DB_HOST`…), otherwise a limited one in memory. No Job waits for the history: runs wait in memory for the writer,
//! and runs that do not fit are counted and logged. Only the acknowledgement of an event waits briefly until its runs
//! are written. If its dispatcher is killed before, the event comes again and is recorded then.
//!
//! ```
//! use std::sync::Arc;
//!
//! use chrono::Utc;
//! use history::{History, Keep, RunState};
//! use job::{EventFacts, JobRun, Ran, State};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> shared::Result<()> {
//! let event = EventFacts {
//!     id: "event-1".to_owned(),
//!     flow_key: "flow-1".to_owned(),
//!     nats_subject: "user-saved".to_owned(),
//! #     event_type: String::new(),
//! #     source: String::new(),
//! #     subject: String::new(),
//! #     correlation_id: None,
//! #     traceparent: None,
//! #     flow_name: String::new(),
//! #     replay: 0,
//! #     published_at: Utc::now(),
//! #     taken_at: Utc::now(),
//! #     attempt: 1,
//! #     delivery: 1,
//!     // …
//! };
//! let run = JobRun {
//!     trigger: "user-saved-trigger".to_owned(),
//!     namespace: "default".to_owned(),
//!     name: "user-saved-1".to_owned(),
//!     image: "save-user".to_owned(),
//!     event_hash: "0f".repeat(16),
//!     event: Arc::new(event),
//!     handed_at: Utc::now(),
//!     state: State::Running,
//! };
//! let history = History::in_memory(Keep::days(30)).await?;
//! history.record(&run);
//! history.record(&run.ended(&Ran::stopped()));
//! // A dispatcher runs this in the background; after the stop it writes what was recorded.
//! let (stopper, stop) = job::stop::channel();
//! stopper.end();
//! history.write(stop).await;
//! let runs = history.runs_of("flow-1", 10).await?;
//! assert_eq!(runs[0].state, RunState::HandedBack);
//! # Ok(())
//! # }
//! ```

use parking_lot::{Mutex, MutexGuard};

mod audit;
mod database;
mod ended_session;
mod pending;
mod read;
mod retention;
mod run;
#[cfg(test)]
mod tests;
mod write;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::config::Environment;
use shared::database::{self as flow_database, Settings};
use shared::error::Result;
use tokio::sync::{Notify, watch};

use self::database::Database;
use self::pending::Pending;
use job::JobRun;
use job::stop::Stop;

pub use audit::Act;
pub use database::{
    MaybeText, Pool, READ_WITHIN, Text, WRITTEN_WITHIN, column, execute, list, row, rows, within,
};
pub use read::Totals;
pub use retention::Keep;
pub use run::{Run, RunState, key_of};
pub use writer::LAST_WITHIN;

/// When a run has waited this long for the database, the history is late.
const LATE: Duration = Duration::from_secs(2);

/// The history. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History(Arc<Inner>);

struct Inner {
    database: Database,
    /// Keeps a database in memory alive, which exists only as long as a connection to it.
    in_memory: Option<Mutex<flow_database::Connection>>,
    keep: Keep,
    pending: Mutex<Pending>,
    /// A run waits to be written.
    news: Notify,
    /// A batch could not be written.
    apart: Notify,
    dropped: AtomicU64,
    ahead: AtomicU64,
    last_error: Mutex<String>,
    written: watch::Sender<u64>,
    settled: tokio::sync::Mutex<Option<read::Settled>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "History({})", self.database.shown)
    }
}

impl History {
    /// In the configured database, or in memory if none is configured. Does not wait for a database that is away.
    pub async fn open(environment: &Environment, keep: Keep) -> Result<Self> {
        match Self::configured(environment, keep)? {
            Some(history) => Ok(history),
            None => Self::in_memory(keep).await,
        }
    }

    /// In the configured database, if there is one.
    pub fn configured(environment: &Environment, keep: Keep) -> Result<Option<Self>> {
        let configured = ["DATABASE_URL", "DB_HOST"].iter().any(|name| environment.get(name).is_some());
        configured.then(|| Ok(Self::in_database(&Settings::read(environment)?, keep))).transpose()
    }

    /// In this database, which already has the tables of the flow.
    pub fn in_database(settings: &Settings, keep: Keep) -> Self {
        Self::new(Database::new(settings), None, keep)
    }

    /// In memory: limited, and lost when this process ends.
    pub async fn in_memory(keep: Keep) -> Result<Self> {
        let settings = Settings::read(&Environment::from_pairs([("DATABASE_URL", "sqlite::memory:")]))?;
        let mut first = settings.connect().await?;
        flow_database::migrate(&mut first).await?;
        Ok(Self::new(Database::in_memory(&settings), Some(Mutex::new(first)), keep.in_memory()))
    }

    fn new(database: Database, in_memory: Option<Mutex<flow_database::Connection>>, keep: Keep) -> Self {
        Self(Arc::new(Inner {
            database,
            in_memory,
            keep,
            pending: Mutex::default(),
            news: Notify::new(),
            apart: Notify::new(),
            dropped: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
            last_error: Mutex::default(),
            written: watch::Sender::new(0),
            settled: tokio::sync::Mutex::default(),
        }))
    }

    /// Records that a Job was handed over or has ended. Never waits.
    pub fn record(&self, run: &JobRun) {
        if self.pending().add(Run::of(run)) {
            self.0.news.notify_one();
        } else {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns once the runs of this event are in the database. If the event is answered afterwards, it is never
    /// without its runs, however this process ends. Waits only briefly, and not at all while the history is late; in
    /// that case it is counted.
    pub async fn until_written(&self, event_id: &str, published_at: DateTime<Utc>) {
        if self.0.in_memory.is_some() {
            return;
        }
        let waits = || self.pending().any(|run| run.is_for(event_id, published_at));
        let mut written = self.written();
        let done = async {
            while waits() {
                if self.problem().is_some() || written.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        if !tokio::time::timeout(LATE, done).await.unwrap_or(false) {
            self.0.ahead.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what is recorded until it is told to stop, and then everything recorded so far.
    pub async fn write(&self, stop: Stop) {
        writer::run(self, &stop).await;
    }

    /// Writes these runs at once.
    pub async fn write_now(&self, runs: &[Run]) -> Result<()> {
        self.0.database.write.write(runs).await.map_err(explain)?;
        self.0.written.send_modify(|count| *count += 1);
        Ok(())
    }

    /// How many runs were lost to the history: too many waited, or the database refused them.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// How many events were acknowledged before their runs were written.
    pub fn ahead(&self) -> u64 {
        self.0.ahead.load(Ordering::Relaxed)
    }

    /// How long the oldest run has waited for the database.
    pub fn delay(&self) -> Duration {
        self.pending().delay()
    }

    /// The message to show while the history is late.
    pub fn problem(&self) -> Option<String> {
        let (delay, runs) = {
            let pending = self.pending();
            (pending.delay(), pending.len())
        };
        let error = self.last_error();
        let why = if error.is_empty() { error } else { format!(": {error}") };
        (delay >= LATE).then(|| {
            let shown = &self.0.database.shown;
            format!("{runs} runs wait for the database at {shown}, the oldest for {} s{why}", delay.as_secs())
        })
    }

    /// Whether it is lost when this process ends.
    pub fn is_in_memory(&self) -> bool {
        self.0.in_memory.is_some()
    }

    /// Changes whenever this process has written.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.0.written.subscribe()
    }

    /// The database, for reading what else is known about the flows.
    pub fn pool(&self) -> &Pool {
        &self.0.database.read
    }

    /// How long runs are kept.
    pub fn keep(&self) -> Keep {
        self.0.keep
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.pending.lock()
    }

    fn last_error(&self) -> String {
        self.0.last_error.lock().clone()
    }
}

/// What a failed database access means for the caller.
pub fn explain(error: sqlx::Error) -> shared::error::Error {
    match error {
        sqlx::Error::PoolTimedOut => {
            shared::error::Error::unavailable("the database does not answer in time")
        }
        error => flow_database::explain("the history cannot be read or written", error),
    }
}

/// For `LIMIT`.
fn amount(limit: usize) -> i64 {
    limit.try_into().unwrap_or(i64::MAX)
}
