//! Runs Jobs as containers of a Docker Engine. The container's name is the lock; its labels and its end are the
//! record.
//!
//! A Job has one container at a time, `<scope>.<namespace>.<name>`; a later try replaces an earlier one. Everything
//! known about a Job is in the engine, so that any dispatcher finds it there after a crash. After a call without an
//! answer, the engine is simply looked at again.

mod client;
mod container;
mod credentials;
mod image;
mod output;
mod quantity;
mod record;
mod run;
mod tidy;
mod volumes;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bollard::query_parameters::{
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;
use parking_lot::Mutex;
use shared::error::{Error, Result};

use self::client::{Client, Trouble};
use self::record::SCOPE_LABEL;
use self::run::Run;
use super::{EndedJobPolicy, Place, Ran, Sources};
use job::stop::Stop;
use rules::plan::{IDENTITY_LABEL, Identity, PlannedJob};

/// How long one call waits for a container's end before it is repeated: a connection may die silently.
const WAIT_ANEW: Duration = Duration::from_mins(1);
/// How long containers that are removed get from SIGTERM to SIGKILL.
const DELETE_GRACE: Duration = Duration::from_secs(5);

/// The settings of the docker backend.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The engine's address: `unix:///path`, or `tcp://host:port`.
    pub host: String,
    /// The network that containers join; `None` is the engine's default.
    pub network: Option<String>,
    /// The first part of the containers' names, and a label. It separates several dispatchers on one engine.
    pub scope: String,
    /// Labels that every container gets.
    pub labels: BTreeMap<String, String>,
    /// The Secrets and `ConfigMap`s that Jobs may refer to.
    pub sources: Sources,
    /// The folder where `docker login` keeps its `config.json`.
    pub docker_config: Option<PathBuf>,
    /// The wait before the second try; it doubles with each try.
    pub backoff: Duration,
}

/// The docker backend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Docker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    client: Client,
    /// Ended containers by the time at which they may be removed, so that each is inspected once.
    kept: Mutex<HashMap<String, SystemTime>>,
}

impl Docker {
    /// Checks the settings. The engine is not asked yet, because it may start later.
    pub fn open(settings: Settings) -> Result<Self> {
        settings.sources.check()?;
        let scope = &settings.scope;
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !scope.starts_with(|c: char| c.is_ascii_alphanumeric()) || !scope.chars().all(is_word) {
            let message =
                format!("--docker-scope {scope:?} must be letters, digits, - and _, the first no - or _");
            return Err(Error::configuration(message));
        }
        let client = Client::new(&settings.host)?;
        Ok(Self(Arc::new(Inner { settings, client, kept: Mutex::default() })))
    }

    pub(super) async fn run(
        &self,
        job: &PlannedJob,
        if_ended: EndedJobPolicy,
        place: &mut dyn Place,
        stop: &Stop,
    ) -> Ran {
        if let Err(error) = container::check(job) {
            return error.into();
        }
        // Boxed, because this future is large.
        Box::pin(Run::new(&self.0, job, if_ended, place).run(stop)).await
    }

    pub(super) async fn delete(&self, identity: &Identity) -> Result<()> {
        let label = format!("{IDENTITY_LABEL}={}", identity.hash());
        let unavailable = |trouble: Trouble| {
            Error::unavailable(format!("the containers of {} were not removed: {trouble}", identity.trigger))
        };
        for id in self.0.listed(vec![label]).await.map_err(unavailable)? {
            self.0.stop(&id, DELETE_GRACE).await.map_err(unavailable)?;
            self.0.remove(&id).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Skips failed containers, because another try may follow. They are removed when their time is over.
    pub(super) async fn prune(&self, identity: &Identity, kept: &BTreeSet<(String, String)>) -> Result<()> {
        let label = format!("{IDENTITY_LABEL}={}", identity.hash());
        self.0.prune(label, kept).await.map_err(|trouble| {
            Error::unavailable(format!("old containers of {} were not removed: {trouble}", identity.trigger))
        })
    }

    pub(super) async fn logs(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        let container = self.0.container_name(namespace, name);
        match output::tail(&self.0.client, &container, "all").await {
            Ok(text) => Ok(Some(text)),
            Err(Trouble::Missing(_)) => Ok(None),
            Err(trouble) => {
                Err(Error::unavailable(format!("the output of {name} cannot be read: {trouble}")))
            }
        }
    }

    pub(super) async fn check(&self) -> Result<()> {
        self.0.client.check().await
    }

    pub(super) async fn tidy(&self, stop: &Stop) {
        tidy::run(&self.0, stop).await;
    }
}

impl Inner {
    fn container_name(&self, namespace: &str, name: &str) -> String {
        format!("{}.{namespace}.{name}", self.settings.scope)
    }

    /// Containers of this scope with these labels, running or not.
    async fn listed(&self, mut labels: Vec<String>) -> std::result::Result<Vec<String>, Trouble> {
        labels.push(format!("{SCOPE_LABEL}={}", self.settings.scope));
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let engine = self.client.engine().await?;
        let listed = self.client.settle(engine.list_containers(Some(options))).await?;
        Ok(listed.into_iter().filter_map(|container| container.id).collect())
    }

    async fn prune(
        &self,
        label: String,
        kept: &BTreeSet<(String, String)>,
    ) -> std::result::Result<(), Trouble> {
        let scope = format!("{SCOPE_LABEL}={}", self.settings.scope);
        let filters = HashMap::from([
            ("label", vec![label, scope]),
            ("status", vec!["exited".to_owned()]),
            ("exited", vec!["0".to_owned()]),
        ]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let engine = self.client.engine().await?;
        for container in self.client.settle(engine.list_containers(Some(options))).await? {
            let (Some(id), Some(labels)) = (container.id, container.labels) else { continue };
            let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
            if !kept.contains(&(label(record::NAMESPACE_LABEL), label(record::NAME_LABEL))) {
                self.remove(&id).await?;
            }
        }
        Ok(())
    }

    /// Sends SIGTERM, and after the grace time SIGKILL. A container that is gone or has ended is fine.
    async fn stop(&self, id: &str, grace: Duration) -> std::result::Result<(), Trouble> {
        let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let limit = grace.saturating_add(WAIT_ANEW);
        let engine = self.client.engine().await?.with_timeout(limit);
        match self.client.settle_within(limit, engine.stop_container(id, Some(options))).await {
            Ok(()) | Err(Trouble::Missing(_)) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// Removes the container and its volumes, running or not. A container that is gone, or is being removed, is fine.
    async fn remove(&self, id: &str) -> std::result::Result<(), Trouble> {
        let options = RemoveContainerOptionsBuilder::new().v(true).force(true).build();
        let engine = self.client.engine().await?;
        match self.client.settle(engine.remove_container(id, Some(options))).await {
            Ok(()) | Err(Trouble::Missing(_) | Trouble::Conflict(_)) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// Returns when the container does not run any more, or after a while. The caller then looks again.
    async fn wait(&self, id: &str) -> std::result::Result<(), Trouble> {
        let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
        let engine = self.client.engine().await?;
        let mut ended = std::pin::pin!(engine.wait_container(id, Some(options)));
        match tokio::time::timeout(WAIT_ANEW, ended.next()).await {
            // The engine reports an exit code other than 0 as an error of its own kind.
            Err(_) | Ok(Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. }))) => Ok(()),
            Ok(None) => Err(self.client.away("the connection was closed")),
            Ok(Some(Err(failure))) => match self.client.trouble(&failure) {
                Trouble::Missing(_) => Ok(()),
                trouble => Err(trouble),
            },
        }
    }

    fn is_kept(&self, id: &str, now: SystemTime) -> bool {
        let kept = self.kept.lock();
        kept.get(id).is_some_and(|until| now < *until)
    }

    fn keep(&self, id: &str, until: SystemTime) {
        self.kept.lock().insert(id.to_owned(), until);
    }

    fn forget_all_but(&self, ids: &HashSet<String>) {
        self.kept.lock().retain(|id, _| ids.contains(id));
    }
}

#[cfg(test)]
mod tests;
