//! Jobs as child processes: an image name becomes a binary, the Secret is resolved here, a crash loses nothing.
//!
//! Reads the binaries of `bin_dir`, the files behind `--secret` and `--config-map`, and `/proc`. Writes for each Job
//! a few files under the state folder (`jobs/<namespace>.<name>.…`): its record, its output and its termination message, which together
//! let the next dispatcher find a child that outlived this one.

mod child;
mod files;
mod identity;
mod image;
mod orphan;
mod output;
mod record;
mod stretch;
mod tidy;
mod token;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::config::Secret;
use shared::error::{Error, Result};
use tokio::time::Instant;

use self::child::{Ended, Running};
use self::files::{Files, blocking};
use self::record::Record;
use self::stretch::{Begun, Settled, Try};
use super::{Again, Outcome, Ran, Sources, adoption, deadline, policy};
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
        files::prepare(&settings.state_dir)?;
        Ok(Self(Arc::new(Inner { settings, running: Mutex::default() })))
    }

    /// The token by which workers publish through this dispatcher. It stays the same from start to start: a child that
    /// outlived the last dispatcher holds it.
    pub fn sink_token(state_dir: &Path) -> Result<Secret> {
        files::prepare(state_dir)?;
        token::kept(state_dir).map_err(|error| {
            let message = format!("cannot keep a token in the state folder {}", state_dir.display());
            Error::configuration(message).because(error)
        })
    }

    pub(super) async fn run(&self, job: &PlannedJob, again: Again, stop: &Stop) -> Ran {
        let job = Arc::new(job.clone());
        let (files, begun) = match self.begin(&job, again, stop).await {
            Ok(Some(begun)) => begun,
            Ok(None) => return Ran::stopped(),
            Err(error) => return Ran::postponed(error.to_string()),
        };
        match begun {
            Begun::Ended(ran) => ran,
            Begun::Running(current) => self.follow(files, current, &job, stop).await,
            Begun::Behind(Try { record, mut running, .. }) => {
                // Nobody else watches its deadline while we hold its files.
                tokio::select! {
                    _ = running.wait() => {}
                    () = deadline::overdue(deadline::of(job.spec.active_deadline, record.started())) => drop(running.end(job.spec.grace).await),
                    () = stop.draining() => return Ran::stopped(),
                }
                match self.start(&files, Record::new(&job, again), &job).await {
                    Ok((record, running)) => {
                        self.follow(files, Try { record, running, adopted: false }, &job, stop).await
                    }
                    Err(ran) => ran,
                }
            }
        }
    }

    /// Waits until no one else has the Job's files, looks what is there, and starts where nothing stands against it: in
    /// one go, because a change of thread costs as much. `None`: the dispatcher stops.
    async fn begin(
        &self,
        job: &Arc<PlannedJob>,
        again: Again,
        stop: &Stop,
    ) -> Result<Option<(Files, Begun)>> {
        let name = files::name(&job.namespace, &job.name)?;
        let mut pause = Duration::from_millis(10);
        loop {
            let (inner, job, name) = (Arc::clone(&self.0), Arc::clone(job), name.clone());
            let begun = blocking(move || {
                let Some(files) = Files::try_lock(&inner.settings.state_dir, &name)? else {
                    return Ok(None);
                };
                let begun = Begun::of(&inner.settings, &files, &job, again)?;
                Ok(Some((files, begun)))
            });
            if let Some(begun) = begun.await? {
                return Ok(Some(begun));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(160)),
                () = stop.draining() => return Ok(None),
            }
        }
    }

    async fn start(
        &self,
        files: &Files,
        record: Record,
        job: &Arc<PlannedJob>,
    ) -> std::result::Result<(Record, Running), Ran> {
        let (inner, files, job) = (Arc::clone(&self.0), files.clone(), Arc::clone(job));
        let started = blocking(move || Ok(stretch::start(&inner.settings, &files, record, &job)));
        started.await.unwrap_or_else(|error| Err(Ran::postponed(error.to_string())))
    }

    /// From a running try to the end of the Job: deadline, retries with backoff, and the record of how it ended.
    async fn follow(&self, files: Files, mut current: Try, job: &Arc<PlannedJob>, stop: &Stop) -> Ran {
        let (adopted, base) = (current.adopted, self.0.settings.backoff);
        let deadline = deadline::of(job.spec.active_deadline, current.record.started());
        loop {
            let ended = self.attend(&mut current.running, deadline, job.spec.grace, stop).await;
            let (held, asked) = (files.clone(), Arc::clone(job));
            let settled =
                blocking(move || Ok(Settled::of(&held, current.record, &asked.spec, &ended, adopted, base)));
            let (record, exit, report, delay) = match settled.await {
                Ok(Settled::Ended(ran)) => return ran,
                Ok(Settled::TryAfter { record, exit, report, delay }) => (record, exit, report, delay),
                Err(error) => return Ran::postponed(error.to_string()),
            };
            if !deadline::wait(delay, deadline, stop).await {
                let outcome = match deadline {
                    Some(at) if at <= Instant::now() => policy::overdue(&job.spec, exit, report),
                    _ => Outcome::Stopped,
                };
                let ended = blocking(move || Ok(stretch::end(&files, *record, outcome, adopted)));
                return ended.await.unwrap_or_else(|error| Ran::postponed(error.to_string()));
            }
            match self.start(&files, *record, job).await {
                Ok((record, running)) => current = Try { record, running, adopted },
                Err(ran) => return ran,
            }
        }
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
        let found = files::of_identity(&state_dir, &identity).await?;
        for (files, record) in found {
            if adoption::Known::outcome(&record).is_none() {
                let held = files.clone();
                let mut running = blocking(move || Ok(Running::adopt(&held, &record))).await?;
                running.end(Duration::from_secs(5)).await;
            }
            blocking(move || files.remove()).await?;
        }
        Ok(())
    }

    pub(super) async fn prune(&self, identity: &Identity, kept: &BTreeSet<(String, String)>) -> Result<()> {
        let kept = kept.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        files::prune(&self.0.settings.state_dir, identity, kept).await
    }

    pub(super) async fn logs(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        output::tail(&self.0.settings.state_dir, namespace, name).await
    }

    pub(super) async fn check(&self) -> Result<()> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || files::prepare(&inner.settings.state_dir))
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
