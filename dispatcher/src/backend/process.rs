//! Jobs as child processes: an image name becomes a binary, the Secret is resolved here, a crash loses nothing.
//!
//! Reads the binaries of `bin_dir`, the files behind `--secret` and `--config-map`, and `/proc`. Writes one folder per Job
//! under the state folder (`jobs/<namespace>.<name>/`): its record, its output and its termination message, which together
//! let the next dispatcher find a child that outlived this one.

mod child;
mod identity;
mod image;
mod orphan;
mod output;
mod record;
mod tidy;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::config::Secret;
use shared::error::{Error, Result};
use tokio::time::Instant;

use self::child::{Ended, Running};
use self::record::{Folder, Record};
use super::adoption::{self, Step};
use super::outcome::StartError;
use super::policy::{self, Next};
use super::{Again, Outcome, Ran, Sources, deadline};
use crate::engine::stop::Stop;
use crate::plan::{Identity, PlannedJob};

pub use image::Images;

/// What the process backend is given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the binaries are and which image means which.
    pub images: Images,
    /// What Jobs may refer to.
    pub sources: Sources,
    /// The folder of records and outputs.
    pub state_dir: PathBuf,
    /// The wait before the second try; doubles from try to try.
    pub backoff: Duration,
    /// Where workers post their events, with the token for it, when the bus is embedded.
    pub sink: Option<(String, Secret)>,
}

/// The process backend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Process(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    running: Mutex<BTreeSet<i32>>,
}

impl Process {
    /// Checks the settings and makes the state folder, readable by this user only.
    pub fn open(settings: Settings) -> Result<Self> {
        settings.images.check()?;
        settings.sources.check()?;
        record::prepare(&settings.state_dir)?;
        Ok(Self(Arc::new(Inner { settings, running: Mutex::default() })))
    }

    /// The token by which workers publish through this dispatcher. It stays the same from start to start: a child that
    /// outlived the last dispatcher holds it.
    pub fn sink_token(state_dir: &Path) -> Result<Secret> {
        record::prepare(state_dir)?;
        record::sink_token(state_dir).map_err(|error| {
            let message = format!("cannot keep a token in the state folder {}", state_dir.display());
            Error::configuration(message).because(error)
        })
    }

    pub(super) async fn run(&self, job: &PlannedJob, again: Again, stop: &Stop) -> Ran {
        let folder = match Folder::lock(&self.0.settings.state_dir, job, stop).await {
            Ok(Some(folder)) => folder,
            Ok(None) => return Ran::stopped(),
            Err(error) => return Ran::postponed(error.to_string()),
        };
        let found = match folder.read().await {
            Ok(found) => found,
            Err(error) => return Ran::postponed(error.to_string()),
        };
        match adoption::decide(found, &job.identity, again) {
            Step::Start => self.start(&folder, Record::new(job, again), job, stop).await,
            Step::Report(record, outcome) => {
                Ran { outcome, attempts: record.attempt, adopted: true, started_at: Some(record.started()) }
            }
            Step::Follow(record) => {
                let running = Running::adopt(&folder, &record).await;
                self.follow(&folder, record, running, true, job, stop).await
            }
            Step::WaitFor(record) => {
                let mut other = Running::adopt(&folder, &record).await;
                // Nobody else watches its deadline while we hold its folder.
                tokio::select! {
                    _ = other.wait() => {}
                    () = deadline::overdue(deadline::of(job.spec.active_deadline, record.started())) => drop(other.end(job.spec.grace).await),
                    () = stop.draining() => return Ran::stopped(),
                }
                self.start(&folder, Record::new(job, again), job, stop).await
            }
        }
    }

    async fn start(&self, folder: &Folder, record: Record, job: &PlannedJob, stop: &Stop) -> Ran {
        match self.spawn(folder, &record, job).await {
            Ok((record, running)) => self.follow(folder, record, running, false, job, stop).await,
            Err(error) => Self::not_started(folder, record, error).await,
        }
    }

    async fn not_started(folder: &Folder, mut record: Record, error: StartError) -> Ran {
        let ran = Ran::from(error);
        // What was written before the start would be looked for as a process. Where nothing ran, nothing is remembered:
        // the same event may come again once what is missing is there.
        record.end(ran.outcome.clone());
        let kept =
            if record.attempt == 0 { folder.clone().remove().await } else { folder.write(&record).await };
        if let Err(error) = kept {
            tracing::warn!(job.name = %record.job, error = %error, "the outcome was not recorded");
        }
        let started_at = (record.attempt > 0).then(|| record.started());
        Ran { attempts: record.attempt, started_at, ..ran }
    }

    async fn spawn(
        &self,
        folder: &Folder,
        record: &Record,
        job: &PlannedJob,
    ) -> std::result::Result<(Record, Running), StartError> {
        let (inner, folder, record, job) = (Arc::clone(&self.0), folder.clone(), record.clone(), job.clone());
        let started =
            tokio::task::spawn_blocking(move || child::start(&inner.settings, &folder, record, &job));
        started.await.map_err(|error| StartError::Later(format!("cannot start a process: {error}")))?
    }

    /// From a running try to the end of the Job: deadline, retries with backoff, and the record of how it ended.
    async fn follow(
        &self,
        folder: &Folder,
        mut record: Record,
        mut running: Running,
        adopted: bool,
        job: &PlannedJob,
        stop: &Stop,
    ) -> Ran {
        let spec = &job.spec;
        let deadline = deadline::of(job.spec.active_deadline, record.started());
        let outcome = loop {
            let ended = self.attend(&mut running, deadline, spec.grace, stop).await;
            let report = folder.report(record.attempt).await;
            let exit = match ended {
                Ended::Exited(exit) => exit.or_report(&report),
                Ended::Overdue(exit) => break policy::overdue(spec, exit, report),
                Ended::Stopped(exit) if exit.or_report(&report).is_success() => {
                    break Outcome::Complete { report };
                }
                Ended::Stopped(_) => break Outcome::Stopped,
            };
            match policy::next(spec, exit, &report, record.failures, self.0.settings.backoff) {
                Next::End(outcome) => break outcome,
                Next::TryAfter { delay, failures } => {
                    record.failures = failures;
                    if !deadline::wait(delay, deadline, stop).await {
                        break match deadline {
                            Some(at) if at <= Instant::now() => policy::overdue(spec, exit, report),
                            _ => Outcome::Stopped,
                        };
                    }
                }
            }
            match self.spawn(folder, &record, job).await {
                Ok(next) => (record, running) = next,
                Err(error) => return Self::not_started(folder, record, error).await,
            }
        };
        record.end(outcome.clone());
        if let Err(error) = folder.write(&record).await {
            // The outcome stands; only a redelivery would run the Job again, which is harmless.
            tracing::warn!(job.name = %job.name, error = %error, "the outcome was not recorded");
        }
        Ran { outcome, attempts: record.attempt, adopted, started_at: Some(record.started()) }
    }

    /// Waits for one try; ends it at the Job's deadline or when the dispatcher's grace time is over.
    async fn attend(
        &self,
        running: &mut Running,
        deadline: Option<Instant>,
        grace: Duration,
        stop: &Stop,
    ) -> Ended {
        let pid = running.pid();
        if let Some(pid) = pid {
            self.running().insert(pid);
        }
        let ended = tokio::select! {
            exit = running.wait() => Ended::Exited(exit),
            () = deadline::overdue(deadline) => Ended::Overdue(running.end(grace).await),
            () = stop.ending() => Ended::Stopped(running.end(grace.min(stop.kill_after())).await),
        };
        if let Some(pid) = pid {
            // As in a container: what a Job started ends with its first process.
            child::signal(pid, rustix::process::Signal::KILL);
            self.running().remove(&pid);
        }
        ended
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeSet<i32>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn delete(&self, identity: &Identity) -> Result<()> {
        let (state_dir, identity) = (self.0.settings.state_dir.clone(), identity.clone());
        let found = record::of_identity(&state_dir, &identity).await?;
        for (folder, record) in found {
            if adoption::Known::outcome(&record).is_none() {
                Running::adopt(&folder, &record).await.end(Duration::from_secs(5)).await;
            }
            folder.remove().await?;
        }
        Ok(())
    }

    pub(super) async fn prune(&self, identity: &Identity, kept: &BTreeSet<(String, String)>) -> Result<()> {
        let kept = kept.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        record::prune(&self.0.settings.state_dir, identity, kept).await
    }

    pub(super) async fn logs(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        output::tail(&self.0.settings.state_dir, namespace, name).await
    }

    pub(super) async fn check(&self) -> Result<()> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || record::prepare(&inner.settings.state_dir))
            .await
            .map_err(|error| Error::bug("the state folder could not be checked").because(error))?
    }

    pub(super) async fn tidy(&self, stop: &Stop) {
        tokio::join!(tidy::run(&self.0.settings.state_dir, stop), orphan::reap(&self.0, stop));
    }

    pub(super) fn abandon(&self) {
        for pid in self.running().iter() {
            child::signal(*pid, rustix::process::Signal::TERM);
        }
    }
}

#[cfg(test)]
mod tests;
