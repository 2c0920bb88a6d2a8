//! Jobs as `batch/v1` Jobs of a cluster: created once, followed through one watch per namespace, adopted after a crash.
//!
//! Reads and writes Jobs, reads Pods, and reads Events and Pod logs where it may. The Role that it needs: Jobs
//! create, get, list, watch, patch and delete; Pods list; as options Pod logs get (to show output) and Events list (to say why
//! a Pod does not start). What it knows of a Job stands in the Job itself, so that a dispatcher can go at any time: the next one
//! finds the Job under its name, sees by its labels which event it is for, and awaits it. A Job that has ended and was removed
//! before anybody saw its end (`ttlSecondsAfterFinished`) is run again, which changes nothing where the worker's effects happen once, as
//! those of our own do. One that a `Delete` event removes while it runs is marked so first, for whoever follows it.

mod access;
mod adoption;
mod call;
mod ending;
mod fault;
mod follow;
mod limit;
mod seen;
mod stuck;
mod told;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shared::error::{Error, Result};

use self::adoption::Step;
use self::call::Calls;
use self::fault::{Fault, Kind};
use self::limit::Rate;
use self::seen::Seen;
use self::watch::{Follower, Watch};
use super::{Again, MAX_LOGS, Outcome, Ran};
use crate::engine::stop::Stop;
use crate::plan::{EVENT_LABEL, IDENTITY_LABEL, Identity, PlannedJob};

pub use access::{Access, Limits};
pub(crate) use watch::said;

/// Who has written a field, in the API server's books.
const FIELD_MANAGER: &str = "knapscen-dispatcher";
/// All Jobs that a dispatcher made, whatever their own labels say.
const SELECTOR: &str = EVENT_LABEL;
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
        Ok(Self(Arc::new(Inner { calls, watch, namespaces, stuck_after })))
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
                Step::GiveUp => return adoption::taken_back(),
                Step::AwaitEnd => {
                    if let Err(fault) = self.until_ended(job, found, &mut follower).await {
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
                    if let Err(fault) = self.until_gone(job, &found, &mut follower).await {
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
        self.until_gone(job, ended, follower).await
    }

    pub(super) async fn delete(&self, identity: &Identity) -> Result<()> {
        let selector = format!("{IDENTITY_LABEL}={}", identity.hash());
        for namespace in &self.0.namespaces {
            for job in self.0.calls.jobs(namespace, &selector).await.map_err(Fault::error)? {
                self.0.calls.mark(namespace, &job).await.map_err(Fault::error)?;
                self.0.calls.delete(namespace, &job).await.map_err(Fault::error)?;
            }
        }
        Ok(())
    }

    pub(super) async fn prune(&self, identity: &Identity, kept: &BTreeSet<(String, String)>) -> Result<()> {
        let selector = format!("{IDENTITY_LABEL}={}", identity.hash());
        for namespace in &self.0.namespaces {
            for job in self.0.calls.jobs(namespace, &selector).await.map_err(Fault::error)? {
                if job.has_ended() && !kept.contains(&(namespace.clone(), job.name().to_owned())) {
                    tokio::time::sleep(adoption::last_words(&job, SystemTime::now())).await;
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
            Some(trouble) => Err(Error::unavailable(trouble)),
            None if self.0.calls.is_away() => Err(Error::unavailable("the API server does not answer")),
            None => Ok(()),
        }
    }
}
