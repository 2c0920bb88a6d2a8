//! The one task that writes: gathers what comes, writes it in batches, and looks after what is old.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use shared::database::Connection;
use shared::error::{Error, Result};
use tokio::sync::{mpsc, oneshot};

use super::run::Run;
use super::write::Batch;
use super::{History, Word, keep, reconcile, totals};
use crate::engine::rules::Rules;
use crate::engine::stop::Stop;
use crate::flow::Flow;
use crate::manifest::Manifests;
use crate::plan::Cluster;

/// How long runs are gathered: the beginning and the end of a quick Job are one row.
const GATHER: Duration = Duration::from_millis(150);

/// Runs of one batch; more stay in the channel while the database is away.
const MOST: usize = 2_000;

/// How long a batch may take before the database counts as away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tries that follow at once.
const SECOND_TRIES: u32 = 4;

/// How often running Jobs show that somebody follows them, and runs that nobody follows are looked for.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// How often old runs are removed.
const PRUNE_EVERY: Duration = Duration::from_mins(1);

pub(super) struct Writer {
    history: History,
    receiver: mpsc::Receiver<Word>,
    rules: Rules,
    cluster: Cluster,
    manifests: Option<Arc<Manifests>>,
    last: BTreeSet<String>,
    running: BTreeSet<String>,
    batch: Batch,
    /// Who waits for the batch.
    waiting: Vec<oneshot::Sender<()>>,
    connection: Option<Connection>,
    told: u64,
}

impl Writer {
    pub(super) fn new(
        history: History,
        receiver: mpsc::Receiver<Word>,
        rules: Rules,
        cluster: Cluster,
    ) -> Self {
        Self {
            history,
            receiver,
            rules,
            cluster,
            manifests: None,
            last: BTreeSet::new(),
            running: BTreeSet::new(),
            batch: Batch::default(),
            waiting: Vec::new(),
            connection: None,
            told: 0,
        }
    }

    pub(super) async fn run(mut self, stop: &Stop) {
        let mut pause = GATHER;
        let (mut beaten, mut pruned) = (Instant::now(), Instant::now());
        self.housekeeping(Chore::Recount).await;
        loop {
            let mut coming = Vec::new();
            let room = MOST.saturating_sub(self.batch.runs.len());
            tokio::select! {
                _ = self.receiver.recv_many(&mut coming, room), if room > 0 => self.take(coming),
                () = tokio::time::sleep(HEARTBEAT / 4) => {}
                () = stop.ending() => break,
            }
            // What ends within the pause is written once, with its end.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.ending() => break,
            }
            self.take_what_is_there();
            pause = if self.flush().await { GATHER } else { (pause * 2).min(Duration::from_secs(5)) };
            if beaten.elapsed() > HEARTBEAT {
                beaten = Instant::now();
                self.housekeeping(Chore::Heartbeat).await;
            }
            if pruned.elapsed() > PRUNE_EVERY {
                pruned = Instant::now();
                self.housekeeping(Chore::Prune).await;
            }
        }
        self.take_what_is_there();
        self.flush().await;
    }

    fn take_what_is_there(&mut self) {
        while self.batch.runs.len() < MOST {
            let Ok(word) = self.receiver.try_recv() else { return };
            self.take(vec![word]);
        }
    }

    fn take(&mut self, coming: Vec<Word>) {
        let now = Utc::now();
        for word in coming {
            let seen = match word {
                Word::Run(seen) => seen,
                Word::Written(sender) => {
                    self.waiting.push(sender);
                    continue;
                }
            };
            let run = Run::of(&seen, now);
            if run.ended_at.is_none() {
                self.running.insert(run.id.clone());
            } else {
                self.running.remove(&run.id);
            }
            self.batch.add(run, &seen.cause.customer_name);
        }
    }

    /// Writes the batch; what could not be written stays for the next time.
    async fn flush(&mut self) -> bool {
        self.tell_dropped();
        if self.batch.runs.is_empty() {
            self.release();
            return true;
        }
        self.look_at_manifests();
        let batch = std::mem::take(&mut self.batch);
        let last = self.last.clone();
        let mut written = self.within(async |database| batch.write(database, &last).await).await;
        for _ in 0..SECOND_TRIES {
            // A deadlock, or a row that another dispatcher wrote first, is over at the next try.
            if written.is_err() {
                written = self.within(async |database| batch.write(database, &last).await).await;
            }
        }
        match written {
            Ok(()) => {
                self.history.set_problem(None);
                self.history.0.written.send_modify(|count| *count += 1);
                self.release();
                true
            }
            Err(error) => {
                self.batch = batch;
                self.history.set_problem(Some(error.to_string()));
                false
            }
        }
    }

    /// What was told before they came is written.
    fn release(&mut self) {
        for waiting in self.waiting.drain(..) {
            let _gone = waiting.send(());
        }
    }

    /// Does something on the writer's connection; a connection that failed is not used again.
    async fn within<T>(&mut self, work: impl AsyncFnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.history.0.connections.connect().await?,
        };
        let shown = self.history.0.connections.shown();
        let done = tokio::time::timeout(PATIENCE, work(&mut connection)).await;
        let done =
            done.map_err(|_| Error::unavailable(format!("the database at {shown} does not answer in time")))?;
        if done.is_ok() {
            self.connection = Some(connection);
        }
        done
    }

    async fn housekeeping(&mut self, chore: Chore) {
        let keep = self.history.0.keep;
        let running: Vec<_> = self.running.iter().cloned().collect();
        let done = match chore {
            Chore::Heartbeat => {
                let last = self.last.clone();
                self.within(async |database| {
                    reconcile::still_here(database, &running).await?;
                    reconcile::close_ended(database, &last).await
                })
                .await
            }
            Chore::Recount => self.within(totals::recount).await,
            Chore::Prune => {
                self.within(async |database| {
                    while keep::prune(database, keep).await? {}
                    Ok(())
                })
                .await
            }
        };
        if let Err(error) = done {
            tracing::debug!(error = %error, "the history was not looked after; it is next time");
        }
    }

    fn look_at_manifests(&mut self) {
        let current = self.rules.current();
        if self.manifests.as_ref().is_none_or(|known| known.version != current.version) {
            self.last = Flow::of(&current, &self.cluster).last().map(str::to_owned).collect();
            self.manifests = Some(current);
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = self.history.dropped();
        if dropped > self.told {
            tracing::warn!(
                dropped = dropped - self.told,
                "runs are missing in the history: its writer was too far behind"
            );
            self.told = dropped;
        }
    }
}

enum Chore {
    Recount,
    Heartbeat,
    Prune,
}
