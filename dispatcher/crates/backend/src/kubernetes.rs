//! Runs Jobs as `batch/v1` Jobs of a cluster: created once, followed through one watch for each namespace, adopted
//! after a crash.
//!
//! Reads and writes Jobs, reads Pods, and reads Events and Pod logs if it may. It needs a Role with these
//! permissions: Jobs create, get, list, watch, patch and delete; Pods list. Optional are Pod logs get (to show
//! output) and Events list (to say why a Pod does not start). Everything known about a Job is in the Job itself, so
//! that a dispatcher can stop at any time: the next one finds the Job by its name, sees by its labels which event it
//! is for, and awaits it. A Job that has ended and was removed before a dispatcher saw its end
//! (`ttlSecondsAfterFinished`) is run again. This changes nothing if the worker's effects happen once, as those of
//! our workers do. Before a `Delete` event removes a running Job, it marks the Job, so that its follower knows why it
//! is gone.

mod access;
mod adoption;
mod api;
mod api_error;
mod event_time;
mod follow;
mod observed;
mod outcome;
mod probe;
mod rate_limit;
mod stuck;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shared::error::{Error, Result};

use self::adoption::ExistingJobAction;
use self::api::Calls;
use self::api_error::{ApiError, Kind};
use self::observed::Observed;
use self::probe::Probe;
use self::rate_limit::Rate;
use self::watch::{Follower, Watch};
use super::{EndedJobPolicy, MAX_LOGS, Place, Ran};
use job::stop::Stop;
use rules::plan::{EVENT_LABEL, IDENTITY_LABEL, Identity, PlannedJob};

pub use access::{Access, Limits};
pub use watch::said;

/// The name under which the API server records who wrote a field.
const FIELD_MANAGER: &str = "knapscen-dispatcher";
/// Selects all Jobs that a dispatcher made, whatever labels they have otherwise.
const SELECTOR: &str = EVENT_LABEL;
/// How long an operator's command waits for an answer.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(20);

/// The settings of the Kubernetes backend.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the API server is reached.
    pub access: Access,
    /// How many calls may be made to it.
    pub limits: Limits,
    /// The namespaces that Jobs may be in; each has its own watch.
    pub namespaces: BTreeSet<String>,
    /// How long a Job may exist without a running Pod.
    pub stuck_after: Duration,
}

/// The Kubernetes backend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kubernetes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    calls: Arc<Calls>,
    watch: Watch,
    probe: Probe,
    namespaces: BTreeSet<String>,
    stuck_after: Duration,
}

/// What the API server would make of the Job; nothing is stored. If a Job with this name exists, the question is
/// asked about another name.
pub async fn dry_run(access: &Access, job: &PlannedJob) -> Result<serde_json::Value> {
    let calls = Calls::new(access.client().await?, Rate { per_second: 10, burst: 10 });
    let ask = async {
        let manifest = job.manifest.text().as_bytes();
        match calls.dry_run(&job.namespace, manifest.to_vec()).await {
            Err(fault) if fault.kind == Kind::Exists => {
                let mut answer = calls.dry_run(&job.namespace, under_a_free_name(manifest)).await?;
                answer["metadata"]["name"] = job.name.as_str().into();
                Ok(answer)
            }
            answer => answer,
        }
    };
    match tokio::time::timeout(DRY_RUN_TIMEOUT, ask).await {
        Ok(answer) => answer.map_err(ApiError::error),
        Err(_) => Err(Error::unavailable(format!(
            "the API server did not answer within {} s: is the cluster of the kubeconfig up?",
            DRY_RUN_TIMEOUT.as_secs()
        ))),
    }
}

/// The same Job under an unused name of the same length.
fn under_a_free_name(manifest: &[u8]) -> Vec<u8> {
    let Ok(mut job) = serde_json::from_slice::<serde_json::Value>(manifest) else { return manifest.to_vec() };
    let length = job["metadata"]["name"].as_str().map_or(0, str::len);
    let mut name = uuid::Uuid::new_v4().simple().to_string().repeat(2);
    // A name may have to begin with a letter.
    name.replace_range(..1, "x");
    name.truncate(length.max(1));
    job["metadata"]["name"] = name.into();
    job.to_string().into_bytes()
}

impl Kubernetes {
    /// Reads the kubeconfig, or the Pod's own service account, and starts the watches. The API server may be away.
    pub async fn open(settings: Settings) -> Result<Self> {
        let client = settings.access.client().await?;
        let calls = Arc::new(Calls::new(client.clone(), settings.limits.rate()));
        let watch = Watch::start(&client, &settings.namespaces, settings.limits.relist());
        let probe = Probe::start(&calls, &settings.namespaces);
        let Settings { namespaces, stuck_after, .. } = settings;
        Ok(Self(Arc::new(Inner { calls, watch, probe, namespaces, stuck_after })))
    }

    pub(super) async fn run(
        &self,
        job: &PlannedJob,
        if_ended: EndedJobPolicy,
        place: &mut dyn Place,
        stop: &Stop,
    ) -> Ran {
        tokio::select! {
            ran = self.take(job, if_ended, place) => ran,
            // The Job goes on without a dispatcher. The dispatcher that gets the event next adopts it.
            () = stop.draining() => Ran::stopped(),
        }
    }

    /// Creates the Job, or acts on the existing Job with the same name.
    async fn take(&self, job: &PlannedJob, if_ended: EndedJobPolicy, place: &mut dyn Place) -> Ran {
        let calls = &self.0.calls;
        // Follow before the first call, so that no news is missed.
        let mut follower = self.0.watch.follow(&job.namespace, &job.name);
        loop {
            let made = calls.create(job).await;
            self.0.probe.learn(&job.namespace, &made);
            match made {
                Ok(created) if !adoption::is_marked(&created, &job.identity) => {
                    let removed = calls.delete(&job.namespace, &created).await;
                    return adoption::unmarked(job, removed.err());
                }
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
            match adoption::decide(&found, &job.identity, if_ended) {
                ExistingJobAction::NotOurs => return adoption::not_ours(job),
                ExistingJobAction::Adopt => return self.follow(job, found, &mut follower, None).await,
                ExistingJobAction::Report => {
                    let ran = self.follow(job, found.clone(), &mut follower, None).await;
                    if !ran.outcome.asks_for_another() {
                        return ran;
                    }
                    if let Err(fault) = self.replace(job, &found, &mut follower).await {
                        return fault.ran();
                    }
                }
                ExistingJobAction::Skip => return adoption::skipped(&found),
                ExistingJobAction::GiveUp => return adoption::taken_back(),
                ExistingJobAction::AwaitEnd => {
                    place.leave();
                    if let Err(fault) = self.until_ended(job, found, &mut follower).await {
                        return fault.ran();
                    }
                    place.enter().await;
                }
                ExistingJobAction::Replace => {
                    tokio::time::sleep(adoption::last_words(&found, SystemTime::now())).await;
                    if let Err(fault) = self.replace(job, &found, &mut follower).await {
                        return fault.ran();
                    }
                }
                ExistingJobAction::AwaitRemoval => {
                    if let Err(fault) = self.until_gone(job, &found, &mut follower).await {
                        return fault.ran();
                    }
                }
            }
        }
    }

    /// Removes an ended Job, and waits until its name is free.
    async fn replace(
        &self,
        job: &PlannedJob,
        ended: &Observed,
        follower: &mut Follower,
    ) -> std::result::Result<(), ApiError> {
        self.0.calls.delete(&job.namespace, ended).await?;
        self.until_gone(job, ended, follower).await
    }

    pub(super) async fn delete(&self, identity: &Identity) -> Result<()> {
        let selector = format!("{IDENTITY_LABEL}={}", identity.hash());
        for namespace in &self.0.namespaces {
            for job in self.0.calls.jobs(namespace, &selector).await.map_err(ApiError::error)? {
                self.0.calls.mark(namespace, &job).await.map_err(ApiError::error)?;
                self.0.calls.delete(namespace, &job).await.map_err(ApiError::error)?;
            }
        }
        Ok(())
    }

    pub(super) async fn prune(&self, identity: &Identity, kept: &BTreeSet<(String, String)>) -> Result<()> {
        let selector = format!("{IDENTITY_LABEL}={}", identity.hash());
        for namespace in &self.0.namespaces {
            for job in self.0.calls.jobs(namespace, &selector).await.map_err(ApiError::error)? {
                if job.has_ended() && !kept.contains(&(namespace.clone(), job.name().to_owned())) {
                    tokio::time::sleep(adoption::last_words(&job, SystemTime::now())).await;
                    self.0.calls.delete(namespace, &job).await.map_err(ApiError::error)?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn logs(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        self.0.calls.logs(namespace, name, MAX_LOGS).await.map_err(ApiError::error)
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.0.watch.trouble() {
            Some(trouble) => Err(Error::unavailable(trouble)),
            None if self.0.calls.is_away() => Err(Error::unavailable("the API server does not answer")),
            None => match self.0.probe.trouble() {
                Some(trouble) => Err(Error::unavailable(trouble)),
                None => Ok(()),
            },
        }
    }
}
