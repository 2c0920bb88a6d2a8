//! The one task that writes: gathers what comes, writes it in batches, and looks after what is old.
//!
//! What comes is hostile: a run that the database refuses while it takes others is dropped, said and counted, and the rest goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
use crate::logging::masked;
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

/// How long the rest may take once there is nothing more to come.
pub(crate) const LAST_WITHIN: Duration = Duration::from_secs(5);

/// How often running Jobs show that somebody follows them, and runs that nobody follows are looked for.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// How often old runs are removed, and customers looked for that are done and do not seem so.
const PRUNE_EVERY: Duration = Duration::from_mins(1);

pub(super) struct Writer {
    history: History,
    receiver: mpsc::Receiver<Word>,
    rules: Rules,
    cluster: Cluster,
    manifests: Option<Arc<Manifests>>,
    last: BTreeSet<String>,
    batch: Batch,
    /// Who waits for the batch.
    waiting: Vec<oneshot::Sender<()>>,
    connection: Option<Connection>,
    /// Where the next look at silent runs begins.
    silent: Option<reconcile::Place>,
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
            batch: Batch::default(),
            waiting: Vec::new(),
            connection: None,
            silent: None,
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
                self.housekeeping(Chore::Onboarded).await;
                self.housekeeping(Chore::Prune).await;
            }
        }
        self.finish().await;
    }

    /// Writes all that is left, while there is time for it.
    async fn finish(mut self) {
        let deadline = Instant::now() + LAST_WITHIN;
        loop {
            self.take_what_is_there();
            let left = self.batch.runs.len();
            if left == 0 {
                return self.release();
            }
            let until = deadline.saturating_duration_since(Instant::now());
            let written = tokio::time::timeout(until, self.flush()).await.unwrap_or(false);
            if !written && Instant::now() + GATHER > deadline {
                let left = left + self.receiver.len();
                tracing::warn!(
                    runs = left,
                    "the database did not take the last runs; they are missing in the history"
                );
                return;
            }
            if !written {
                tokio::time::sleep(GATHER).await;
            }
        }
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
            self.batch.add(Run::of(&seen, now), &seen.cause.customer_name);
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
        match self.write_what_can_be().await {
            Ok(()) => {
                self.history.set_problem(None);
                self.history.0.written.send_modify(|count| *count += 1);
                self.release();
                true
            }
            Err(error) => {
                self.history.set_problem(Some(error.to_string()));
                false
            }
        }
    }

    /// Halves what fails until it stands alone. An error is a database that takes nothing: what is not written stays.
    async fn write_what_can_be(&mut self) -> Result<()> {
        let mut parts = vec![std::mem::take(&mut self.batch)];
        while let Some(part) = parts.pop() {
            let Err(error) = self.write(&part).await else { continue };
            if self.try_out().await.is_err() {
                for part in parts.into_iter().chain([part]) {
                    self.batch.absorb(part);
                }
                return Err(error);
            }
            match part.halves() {
                Ok((first, second)) => parts.extend([second, first]),
                Err(run) => self.drop_run(&run, &error),
            }
        }
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<()> {
        let last = self.last.clone();
        let mut written = self.within(async |database| batch.write(database, &last).await).await;
        for _ in 0..SECOND_TRIES {
            // A deadlock, or a row that another dispatcher wrote first, is over at the next try.
            if written.is_err() {
                written = self.within(async |database| batch.write(database, &last).await).await;
            }
        }
        written
    }

    /// Whether the database takes a harmless run. It does not stay.
    async fn try_out(&mut self) -> Result<()> {
        let tried = self.within(Batch::try_out).await;
        // Without its end the transaction ends with the connection.
        self.connection = None;
        tried
    }

    fn drop_run(&mut self, run: &Run, error: &Error) {
        self.history.0.dropped.fetch_add(1, Ordering::Relaxed);
        self.told += 1;
        tracing::error!(
            trigger = run.trigger, event.id = %masked(&run.event_id), state = run.state.as_str(), error = %error,
            "the database refuses this run and takes others; it is missing in the history"
        );
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
        let done = match chore {
            Chore::Heartbeat => {
                let (last, running, after) = (self.last.clone(), self.history.followed(), self.silent.take());
                let looked = self.within(async |database| {
                    reconcile::still_here(database, &running).await?;
                    reconcile::close_ended(database, &last, after).await
                });
                looked.await.map(|next| self.silent = next)
            }
            Chore::Onboarded => {
                let last = self.last.clone();
                self.within(async |database| reconcile::close_onboarded(database, &last).await).await
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
    Onboarded,
    Prune,
}
