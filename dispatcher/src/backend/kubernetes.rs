//! Jobs as `batch/v1` Jobs of a cluster: created once, followed through one watch per namespace, adopted after a crash.
//!
//! Reads and writes Jobs, reads Pods, and reads Events and Pod logs where it may. The Role that it needs: Jobs
//! create, get, list, watch and delete; Pods list; as options Pod logs get (to show output) and Events list (to say why
//! a Pod does not start). What it knows of a Job stands in the Job itself, so that a dispatcher can go at any time: the next one
//! finds the Job under its name, sees by its labels which event it is for, and awaits it. A Job that has ended and was removed
//! before anybody saw its end (`ttlSecondsAfterFinished`) is run again, which changes nothing: effects happen once.

mod access;
mod adoption;
mod call;
mod ending;
mod fault;
mod limit;
mod seen;
mod stuck;
mod watch;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use shared::error::{Error, Result};

use self::adoption::Step;
use self::call::Calls;
use self::fault::{Fault, Kind};
use self::limit::Rate;
use self::seen::Seen;
use self::stuck::{Ask, Patience, Stuck};
use self::watch::{Follower, News, Watch};
use super::{Again, Cause, MAX_LOGS, Outcome, Ran, Report, Try};
use crate::engine::stop::Stop;
use crate::plan::{EVENT_LABEL, IDENTITY_LABEL, Identity, PlannedJob};

pub use access::{Access, Limits};
pub(crate) use watch::said;

/// Who has written a field, in the API server's books.
const FIELD_MANAGER: &str = "knapscen-dispatcher";
/// All Jobs that a dispatcher made, whatever their own labels say.
const SELECTOR: &str = EVENT_LABEL;
/// How long a Job that is being removed is waited for before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// A person waits no longer.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(20);

/// What the Kubernetes backend is given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the API server is reached.
    pub access: Access,
    /// How much may be asked of it.
    pub limits: Limits,
    /// Where Jobs may be: each has its watch.
    pub namespaces: BTreeSet<String>,
    /// How long a Job may go without a Pod that runs.
    pub stuck_after: Duration,
}

/// The Kubernetes backend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kubernetes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    calls: Calls,
    watch: Watch,
    namespaces: BTreeSet<String>,
    stuck_after: Duration,
    /// The uids of Jobs that a `Delete` event removed while this dispatcher followed them.
    deleted: Mutex<BTreeSet<String>>,
}

/// What the API server would make of the Job; nothing is kept.
pub async fn dry_run(access: &Access, job: &PlannedJob) -> Result<serde_json::Value> {
    let calls = Calls::new(access.client().await?, Rate { per_second: 10, burst: 10 });
    match tokio::time::timeout(DRY_RUN_TIMEOUT, calls.dry_run(job)).await {
        Ok(answer) => answer.map_err(Fault::error),
        Err(_) => Err(Error::unavailable(format!(
            "the API server did not answer within {} s: is the cluster of the kubeconfig up?",
            DRY_RUN_TIMEOUT.as_secs()
        ))),
    }
}

impl Kubernetes {
    /// Reads the kubeconfig, or the Pod's own service account, and begins to watch. The API server may be away.
    pub async fn open(settings: Settings) -> Result<Self> {
        let client = settings.access.client().await?;
        let calls = Calls::new(client.clone(), settings.limits.rate());
        let watch = Watch::start(&client, &settings.namespaces, settings.limits.relist());
        let Settings { namespaces, stuck_after, .. } = settings;
        Ok(Self(Arc::new(Inner { calls, watch, namespaces, stuck_after, deleted: Mutex::default() })))
    }

    pub(super) async fn run(&self, job: &PlannedJob, again: Again, stop: &Stop) -> Ran {
        tokio::select! {
            ran = self.take(job, again) => ran,
            // The Job needs no dispatcher to go on: whoever gets the event next adopts it.
            () = stop.draining() => Ran::stopped(),
        }
    }

    /// Creates the Job, or does what the one of the same name asks for.
    async fn take(&self, job: &PlannedJob, again: Again) -> Ran {
        let calls = &self.0.calls;
        // Before the first call, so that nothing is missed.
        let mut follower = self.0.watch.follow(&job.namespace, &job.name);
        loop {
            match calls.create(job).await {
                Ok(created) => {
                    return self.follow(job, created, &mut follower, Some(SystemTime::now())).await;
                }
                Err(fault) if fault.kind == Kind::Exists => {}
                Err(fault) => return fault.ran(),
            }
            let found = match calls.job(&job.namespace, &job.name).await {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(fault) => return fault.ran(),
            };
            match adoption::decide(&found, &job.identity, again) {
                Step::NotOurs => return adoption::not_ours(job),
                Step::Adopt => return self.follow(job, found, &mut follower, None).await,
                Step::Report => {
                    let ran = self.follow(job, found.clone(), &mut follower, None).await;
                    if !matches!(ran.outcome, Outcome::TryAgain { .. }) {
                        return ran;
                    }
                    if let Err(fault) = self.replace(job, &found, &mut follower).await {
                        return fault.ran();
                    }
                }
                Step::Skip => return adoption::skipped(&found),
                Step::AwaitEnd => {
                    if let Err(fault) = self.until(job, &found, &mut follower, Seen::has_ended).await {
                        return fault.ran();
                    }
                }
                Step::Replace => {
                    tokio::time::sleep(adoption::last_words(&found, SystemTime::now())).await;
                    if let Err(fault) = self.replace(job, &found, &mut follower).await {
                        return fault.ran();
                    }
                }
                Step::AwaitRemoval => {
                    if let Err(fault) = self.until(job, &found, &mut follower, |_| false).await {
                        return fault.ran();
                    }
                }
            }
        }
    }

    /// Removes an ended Job and waits until its name is free.
    async fn replace(
        &self,
        job: &PlannedJob,
        ended: &Seen,
        follower: &mut Follower,
    ) -> std::result::Result<(), Fault> {
        self.0.calls.delete(&job.namespace, ended).await?;
        self.until(job, ended, follower, |_| false).await
    }

    /// Waits until another Job of this name is as wanted, or gone.
    async fn until(
        &self,
        job: &PlannedJob,
        other: &Seen,
        follower: &mut Follower,
        wanted: impl Fn(&Seen) -> bool,
    ) -> std::result::Result<(), Fault> {
        loop {
            let look = match tokio::time::timeout(LOOK_AGAIN, follower.next()).await {
                Ok(News::Changed(seen)) if seen.uid() == other.uid() => {
                    if wanted(&seen) {
                        return Ok(());
                    }
                    continue;
                }
                Ok(News::Deleted(seen)) => seen.uid() != other.uid(),
                Ok(News::Changed(_) | News::Missing) | Err(_) => true,
            };
            if !look {
                return Ok(());
            }
            match self.0.calls.job(&job.namespace, &job.name).await? {
                Some(seen) if seen.uid() == other.uid() && !wanted(&seen) => {}
                _ => return Ok(()),
            }
        }
    }

    /// From a Job of this event to its end. `created`: when this dispatcher made it.
    async fn follow(
        &self,
        job: &PlannedJob,
        mut seen: Seen,
        follower: &mut Follower,
        created: Option<SystemTime>,
    ) -> Ran {
        let adopted = created.is_none();
        let mut patience = Patience::new(self.0.stuck_after);
        let mut removed = false;
        loop {
            let started_at = created.or_else(|| seen.started_at());
            let ran = |outcome| Ran {
                outcome,
                attempts: seen.attempts(),
                adopted,
                started_at,
                earlier: Vec::new(),
            };
            if seen.has_ended() {
                let (outcome, earlier) = self.outcome(job, &seen).await;
                return Ran { earlier, ..ran(outcome) };
            }
            if removed && self.deleted().remove(seen.uid()) {
                let message = "a Delete event of the same subject removed its Job while it ran";
                return ran(Ran::refused(Cause::BackendError, message).outcome);
            }
            if removed {
                let message = format!(
                    "the Job {}/{} was removed before its end was seen; it is run again",
                    job.namespace, job.name
                );
                return ran(Ran::postponed(message).outcome);
            }
            patience.look(&seen);
            let news = tokio::select! {
                news = follower.next() => news,
                () = patience.over() => {
                    if let Some(stuck) = self.stuck(job, &seen).await {
                        return ran(self.give_up(job, &seen, stuck).await);
                    }
                    patience.renew();
                    continue;
                }
            };
            match news {
                News::Changed(now) if now.uid() == seen.uid() => seen = now,
                News::Deleted(last) if last.uid() == seen.uid() => (seen, removed) = (last, true),
                // News of a Job that had this name before, or of none: ask.
                _ => match self.0.calls.job(&job.namespace, &job.name).await {
                    Ok(Some(now)) if now.uid() == seen.uid() => seen = now,
                    Ok(_) => removed = true,
                    Err(fault) => return fault.ran(),
                },
            }
        }
    }

    /// What the Job's end means, and the tries before; where no container tells, Kubernetes' events may.
    async fn outcome(&self, job: &PlannedJob, seen: &Seen) -> (Outcome, Vec<Try>) {
        let (calls, namespace) = (&self.0.calls, &job.namespace);
        let pods = calls.pods_of(namespace, seen).await.unwrap_or_default();
        let mut outcome = ending::outcome(&job.spec.container, seen, &pods);
        if let Outcome::Failed { exit_code: None, message, .. }
        | Outcome::TryAgain { exit_code: None, message, .. } = &mut outcome
            && let Some(warnings) = calls.warnings(namespace).await
            && let Some(words) = ending::warning(seen, &warnings)
        {
            message.push_str("; ");
            message.push_str(&words);
        }
        (outcome, ending::earlier(&job.spec.container, &pods))
    }

    /// Why the Job does not start, if it does not.
    async fn stuck(&self, job: &PlannedJob, seen: &Seen) -> Option<Stuck> {
        let (calls, namespace) = (&self.0.calls, &job.namespace);
        let pods = calls.pods_of(namespace, seen).await?;
        match stuck::of_pods(&pods) {
            Ok(stuck) => Some(stuck),
            Err(Ask::Nobody) => None,
            Err(Ask::Job) => {
                let events = calls.events_of(namespace, seen.uid()).await;
                Some(stuck::of_job_events(events.as_deref()))
            }
            Err(Ask::Pod(pod)) => {
                let events = calls.events_of(namespace, pod.metadata.uid.as_deref()?).await;
                stuck::of_pod_events(events.as_deref())
            }
        }
    }

    /// Removes a Job that will not start, so that it does not start after its event was given up.
    async fn give_up(&self, job: &PlannedJob, seen: &Seen, stuck: Stuck) -> Outcome {
        let limit = self.0.stuck_after.as_secs();
        let mut message = format!("it did not start within {limit} s: {}", stuck.words);
        if let Err(fault) = self.0.calls.delete(&job.namespace, seen).await {
            message = format!("{message}; and its Job could not be removed: {fault}");
        }
        Outcome::Failed { cause: stuck.cause, exit_code: None, message, report: Report::default() }
    }

    pub(super) async fn delete(&self, identity: &Identity) -> Result<()> {
        let selector = format!("{IDENTITY_LABEL}={}", identity.hash());
        for namespace in &self.0.namespaces {
            for job in self.0.calls.jobs(namespace, &selector).await.map_err(Fault::error)? {
                if !job.has_ended() && self.0.watch.is_followed(namespace, job.name()) {
                    self.deleted().insert(job.uid().to_owned());
                }
                self.0.calls.delete(namespace, &job).await.map_err(Fault::error)?;
            }
        }
        Ok(())
    }

    fn deleted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn prune(&self, identity: &Identity, kept: &BTreeSet<(String, String)>) -> Result<()> {
        let selector = format!("{IDENTITY_LABEL}={}", identity.hash());
        for namespace in &self.0.namespaces {
            for job in self.0.calls.jobs(namespace, &selector).await.map_err(Fault::error)? {
                if job.has_ended() && !kept.contains(&(namespace.clone(), job.name().to_owned())) {
                    self.0.calls.delete(namespace, &job).await.map_err(Fault::error)?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn logs(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        self.0.calls.logs(namespace, name, MAX_LOGS).await.map_err(Fault::error)
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.0.watch.trouble() {
            None => Ok(()),
            Some(trouble) => Err(Error::unavailable(trouble)),
        }
    }
}
