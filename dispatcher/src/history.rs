//! What became of every Job: a table that every dispatcher writes and page and commands read, so that they agree.
//!
//! Reads the database of the flow where one is configured (`DATABASE_URL` or `DB_HOST`…), else a bounded one in memory.
//! Writes the tables `job_runs`, `customer_states` and `history_totals`. No Job waits for any of it: runs go
//! through a bounded channel to one writer; what finds it full is counted and said. Only the answer to an event waits, a
//! moment, until its runs are written: an event whose dispatcher is killed before comes again, and is recorded then.

mod audit;
mod connections;
mod customer;
mod fold;
mod give_up;
mod keep;
mod read;
mod reconcile;
mod run;
#[cfg(test)]
mod tests;
mod totals;
mod write;
mod writer;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::config::Environment;
use shared::database::{self, Settings};
use shared::error::Result;
use tokio::sync::{mpsc, oneshot, watch};

use self::connections::Connections;
use crate::engine::rules::Rules;
use crate::engine::stop::Stop;
use crate::observer::{JobRun, State};
use crate::plan::Cluster;

pub use audit::Act;
pub use customer::{CustomerState, Stage};
pub use keep::Keep;
pub use read::{Cursor, Wanted};
pub use run::{Run, RunState};
pub use totals::Totals;
pub(crate) use writer::LAST_WITHIN;

/// Runs that may wait for the writer.
const CHANNEL: usize = 8192;

/// How long the answer to an event waits at most until its runs are written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// What the writer is told.
#[derive(Debug)]
enum Word {
    Run(Box<JobRun>),
    /// Somebody waits until all that was told before is written.
    Written(oneshot::Sender<()>),
}

/// The history. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connections: Connections,
    in_memory: bool,
    keep: Keep,
    sender: mpsc::Sender<Word>,
    receiver: Mutex<Option<mpsc::Receiver<Word>>>,
    /// Runs that this process follows.
    followed: Mutex<BTreeSet<String>>,
    dropped: AtomicU64,
    problem: Mutex<Option<String>>,
    written: watch::Sender<u64>,
}

impl History {
    /// In the configured database, or in memory where none is. Does not wait for a database that is away.
    pub async fn open(environment: &Environment, keep: Keep) -> Result<Self> {
        match Self::configured(environment, keep)? {
            Some(history) => Ok(history),
            None => Self::in_memory(keep).await,
        }
    }

    /// In the configured database, where there is one.
    pub fn configured(environment: &Environment, keep: Keep) -> Result<Option<Self>> {
        let configured = ["DATABASE_URL", "DB_HOST"].iter().any(|name| environment.get(name).is_some());
        configured.then(|| Ok(Self::in_database(Settings::read(environment)?, keep))).transpose()
    }

    /// In this database, which has the tables of the flow.
    pub fn in_database(settings: Settings, keep: Keep) -> Self {
        Self::new(Connections::new(settings), false, keep)
    }

    /// In memory: gone with this process, and bounded.
    pub async fn in_memory(keep: Keep) -> Result<Self> {
        let settings = Settings::read(&Environment::from_pairs([("DATABASE_URL", "sqlite::memory:")]))?;
        let mut first = settings.connect().await?;
        database::migrate(&mut first).await?;
        Ok(Self::new(Connections::keeping(settings, first), true, keep.in_memory()))
    }

    fn new(connections: Connections, in_memory: bool, keep: Keep) -> Self {
        let (sender, receiver) = mpsc::channel(CHANNEL);
        Self(Arc::new(Inner {
            connections,
            in_memory,
            keep,
            sender,
            receiver: Mutex::new(Some(receiver)),
            followed: Mutex::default(),
            dropped: AtomicU64::new(0),
            problem: Mutex::new(None),
            written: watch::Sender::new(0),
        }))
    }

    /// A Job was handed over or ended. Never waits.
    pub fn record(&self, run: &JobRun) {
        let id = run::id_of(run);
        let mut followed = self.0.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(run.state, State::Running) {
            followed.insert(id);
        } else {
            // Whether or not its end finds room: nobody is to think that it runs on.
            followed.remove(&id);
        }
        drop(followed);
        if self.0.sender.try_send(Word::Run(Box::new(run.clone()))).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns once what this task recorded before is in the database: an event that is answered after it is never without
    /// its run, however this process ends. Waits a short time only, and not at all while the database is away.
    pub async fn until_written(&self) {
        if self.0.in_memory || self.problem().is_some() {
            return;
        }
        let (sender, written) = oneshot::channel();
        if self.0.sender.try_send(Word::Written(sender)).is_ok() {
            let _late_or_stopped = tokio::time::timeout(WRITTEN_WITHIN, written).await;
        }
    }

    /// Writes what is recorded until told to stop; what is recorded by then is written. One call counts.
    pub async fn write(&self, rules: Rules, cluster: Cluster, stop: Stop) {
        let receiver = self.0.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(receiver) = receiver {
            writer::Writer::new(self.clone(), receiver, rules, cluster).run(&stop).await;
        }
    }

    /// How many runs were not recorded: the writer was too far behind, or the database refused them.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Why nothing is written at the moment, if so.
    pub fn problem(&self) -> Option<String> {
        self.0.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it ends with this process.
    pub fn is_in_memory(&self) -> bool {
        self.0.in_memory
    }

    /// Changes whenever this process has written.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.0.written.subscribe()
    }

    fn followed(&self) -> Vec<String> {
        self.0.followed.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn set_problem(&self, problem: Option<String>) {
        let mut current = self.0.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*current, &problem) {
            (None, Some(why)) => tracing::warn!(problem = why, "the history is not written; Jobs run on"),
            (Some(_), None) => tracing::info!("the history is written again"),
            _ => {}
        }
        *current = problem;
    }
}
