//! Runs Jobs as child processes: an image name means a binary, Secrets are read from files, and a crash loses
//! nothing.
//!
//! Reads the binaries of `bin_dir`, the files behind `--secret` and `--config-map`, and `/proc` if it exists. For
//! each Job it writes a few files in the state folder (`jobs/<namespace>.<name>.…`): its record, its output and its
//! termination message. With these, the next dispatcher finds a child that outlived this one.

mod child;
mod files;
mod identity;
mod image;
mod output;
mod reaper;
mod record;
mod tidy;
mod token;
mod tries;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::config::{Secret, shown};
use shared::error::{Error, Result};
use tokio::time::Instant;

use self::child::{Ended, Running};
use self::files::{Files, Waiting, blocking};
use self::record::Record;
use self::tries::{AfterTry, FirstLook, Try};
use super::{EndedJobPolicy, FailureClass, Outcome, Place, Ran, Sources, adoption, deadline, policy};
use job::stop::Stop;
use rules::plan::{Identity, PlannedJob};
use shared::pauses::Pauses;

pub use image::{Absent, Images};

/// The default of how long to wait for a binary that is being replaced.
pub const IMAGE_PATIENCE: Duration = Duration::from_mins(1);

/// The settings of the process backend.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the binaries are, and which image means which binary.
    pub images: Images,
    /// The Secrets and `ConfigMap`s that Jobs may refer to.
    pub sources: Sources,
    /// The folder of records and outputs.
    pub state_dir: PathBuf,
    /// The wait before the second try; it doubles with each try.
    pub backoff: Duration,
    /// Binaries that cannot be run at the moment.
    pub absent: Absent,
    /// The address for workers' events, and the token for it, if the bus is embedded.
    pub sink: Option<(String, Secret)>,
    /// Whether a Job that does not end at once may outlive the dispatcher. The next one adopts it.
    pub leaves_jobs: bool,
}

impl Settings {
    /// As PID 1 of a container the dispatcher takes everything with it, so nothing can be left.
    fn can_leave(&self) -> bool {
        self.leaves_jobs && std::process::id() != 1
    }
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
    /// Checks the settings, and creates the state folder, which only this user can read.
    pub fn open(settings: Settings) -> Result<Self> {
        settings.images.check()?;
        settings.sources.check()?;
        files::prepare(&settings.state_dir)?;
        Ok(Self(Arc::new(Inner { settings, running: Mutex::default() })))
    }

    /// The token with which workers publish through this dispatcher. It is the same after a restart, because a child
    /// that outlived the last dispatcher still uses it.
    pub fn sink_token(state_dir: &Path) -> Result<Secret> {
        files::prepare(state_dir)?;
        token::kept(state_dir).map_err(|error| {
            let message = format!("cannot keep a token in the state folder {}", shown(state_dir));
            Error::configuration(message).because(error)
        })
    }

    pub(super) async fn run(
        &self,
        job: &PlannedJob,
        if_ended: EndedJobPolicy,
        place: &mut dyn Place,
        stop: &Stop,
    ) -> Ran {
        let job = Arc::new(job.clone());
        let (files, begun) = match self.begin(&job, if_ended, place, stop).await {
            Ok(Some(begun)) => begun,
            Ok(None) => return Ran::stopped(),
            Err(error) => return Ran::postponed(FailureClass::LocalShortage, error.to_string()),
        };
        let held = files.clone();
        let signs = async {
            loop {
                tokio::time::sleep(files::SIGN_EVERY).await;
                let held = held.clone();
                // Without a sign of life, another dispatcher follows the Job as well, which is harmless.
                drop(blocking(move || held.touch()).await);
            }
        };
        tokio::select! {
            ran = self.to_its_end(files, begun, &job, if_ended, stop) => ran,
            never = signs => match never {},
        }
    }

    async fn to_its_end(
        &self,
        files: Files,
        begun: FirstLook,
        job: &Arc<PlannedJob>,
        if_ended: EndedJobPolicy,
        stop: &Stop,
    ) -> Ran {
        match begun {
            FirstLook::Ended(ran) => ran,
            FirstLook::Running(current) => self.follow(files, current, job, stop).await,
            FirstLook::WaitFor(Try { record, mut running, .. }) => {
                // No other dispatcher watches the Job's deadline while we hold its files.
                tokio::select! {
                    _ = running.wait() => {}
                    () = deadline::overdue(deadline::of(job.spec.active_deadline, record.started())) => drop(running.end(job.spec.grace).await),
                    () = stop.draining() => return Ran::stopped(),
                }
                match self.start(&files, Record::new(job, if_ended), job).await {
                    Ok((record, running)) => {
                        self.follow(files, Try { record, running, adopted: false }, job, stop).await
                    }
                    Err(ran) => ran,
                }
            }
        }
    }

    /// Waits until no other dispatcher holds the Job's files, looks at them, and starts the Job if nothing forbids
    /// it. This is one call, because a change of threads costs as much. `None`: the dispatcher stops.
    async fn begin(
        &self,
        job: &Arc<PlannedJob>,
        if_ended: EndedJobPolicy,
        place: &mut dyn Place,
        stop: &Stop,
    ) -> Result<Option<(Files, FirstLook)>> {
        let name = files::name(&job.namespace, &job.name)?;
        loop {
            let (inner, job, files_name) = (Arc::clone(&self.0), Arc::clone(job), name.clone());
            let begun = blocking(move || {
                let Some(files) = Files::try_lock(&inner.settings.state_dir, &files_name)? else {
                    return Ok(None);
                };
                let begun = FirstLook::of(&inner.settings, &files, &job, if_ended)?;
                Ok(Some((files, begun)))
            });
            if let Some(begun) = begun.await? {
                return Ok(Some(begun));
            }
            // Another dispatcher follows it, so other Jobs may run meanwhile.
            place.leave();
            tokio::select! {
                free = self.free(&name) => free?,
                () = stop.draining() => return Ok(None),
            }
            tokio::select! {
                () = place.enter() => {}
                () = stop.draining() => return Ok(None),
            }
        }
    }

    /// Returns once no dispatcher holds the Job's files, or the one that holds them shows no sign of life.
    async fn free(&self, name: &str) -> Result<()> {
        let mut waiting = Waiting::new(&self.0.settings.state_dir, name);
        let mut pauses = Pauses::new(Duration::from_millis(10), Duration::from_millis(160));
        loop {
            let look = move || waiting.is_over().map(|is_over| (waiting, is_over));
            let (seen, is_over) = blocking(look).await?;
            if is_over {
                return Ok(());
            }
            waiting = seen;
            tokio::time::sleep(pauses.take()).await;
        }
    }

    async fn start(
        &self,
        files: &Files,
        record: Record,
        job: &Arc<PlannedJob>,
    ) -> std::result::Result<(Record, Running), Ran> {
        let (inner, files, job) = (Arc::clone(&self.0), files.clone(), Arc::clone(job));
        let started = blocking(move || Ok(tries::start(&inner.settings, &files, record, &job)));
        started
            .await
            .unwrap_or_else(|error| Err(Ran::postponed(FailureClass::LocalShortage, error.to_string())))
    }

    /// Takes a running try to the end of the Job: deadline, retries with backoff, and the record of how it ended.
    async fn follow(&self, files: Files, mut current: Try, job: &Arc<PlannedJob>, stop: &Stop) -> Ran {
        let (adopted, base) = (current.adopted, self.0.settings.backoff);
        let deadline = deadline::of(job.spec.active_deadline, current.record.started());
        loop {
            let ended = self.attend(&mut current.running, deadline, job.spec.grace, stop).await;
            let (held, asked) = (files.clone(), Arc::clone(job));
            let settled =
                blocking(move || Ok(AfterTry::of(&held, current.record, &asked.spec, &ended, adopted, base)));
            let (record, exit, report, delay) = match settled.await {
                Ok(AfterTry::Ended(ran)) => return ran,
                Ok(AfterTry::TryAfter { record, exit, report, delay }) => (record, exit, report, delay),
                Err(error) => return Ran::postponed(FailureClass::LocalShortage, error.to_string()),
            };
            if !deadline::wait(delay, deadline, stop).await {
                let outcome = match deadline {
                    Some(at) if at <= Instant::now() => policy::overdue(&job.spec, exit, report),
                    _ => Outcome::Stopped,
                };
                let ended = blocking(move || Ok(tries::end(&files, *record, outcome, adopted)));
                return ended
                    .await
                    .unwrap_or_else(|error| Ran::postponed(FailureClass::LocalShortage, error.to_string()));
            }
            match self.start(&files, *record, job).await {
                Ok((record, running)) => current = Try { record, running, adopted },
                Err(ran) => return ran,
            }
        }
    }

    /// Waits for one try. Ends it at the Job's deadline, and asks it to end when the dispatcher's grace time is over.
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
            () = stop.ending() => self.end_or_leave(running, grace, stop).await,
        };
        if let Some(pid) = pid {
            if !matches!(ended, Ended::Left) {
                // As in a container, everything that a Job started ends with its first process.
                child::signal(pid, rustix::process::Signal::KILL);
            }
            self.running().remove(&pid);
        }
        ended
    }

    /// At the end of the dispatcher's grace time. A process that does not end now may wait for the answer to an
    /// effect, and another run would repeat the effect.
    async fn end_or_leave(&self, running: &mut Running, grace: Duration, stop: &Stop) -> Ended {
        if self.0.settings.can_leave() {
            running.ask(stop.leave_after()).await.map_or(Ended::Left, Ended::Stopped)
        } else {
            Ended::Stopped(running.end(grace.min(stop.kill_after())).await)
        }
    }

    fn running(&self) -> parking_lot::MutexGuard<'_, BTreeSet<i32>> {
        self.0.running.lock()
    }

    pub(super) async fn delete(&self, identity: &Identity) -> Result<()> {
        let (state_dir, identity) = (self.0.settings.state_dir.clone(), identity.clone());
        let found = files::of_identity(&state_dir, &identity).await?;
        for (files, record) in found {
            if adoption::Known::outcome(&record).is_none() {
                let held = files.clone();
                let mut running = blocking(move || Ok(Running::adopt(&held, &record))).await?;
                running.end(Duration::from_secs(5)).await;
                if running.may_run() {
                    return Err(Error::unavailable("a Job's process still runs, and which one is not known"));
                }
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
        tokio::join!(tidy::run(&self.0.settings.state_dir, stop), reaper::reap(&self.0, stop));
    }

    pub(super) fn abandon(&self) {
        for pid in self.running().iter() {
            child::signal(*pid, rustix::process::Signal::TERM);
        }
    }
}

#[cfg(test)]
mod tests;
