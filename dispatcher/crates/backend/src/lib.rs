//! Where Jobs run: one enum, one file per backend, one variant for tests.
//!
//! Each backend takes a [`PlannedJob`] to its end and says how it ended. Running a Job twice has the same result as
//! running it once: a Job of the same event is adopted and awaited, an ended Job of another event is replaced, and a
//! running one is awaited first.
//!
//! ```
//! use std::path::Path;
//!
//! use backend::{Backend, EndedJobPolicy, Outcome, Recording};
//! use rules::plan::{self, Action, Cluster, IncomingEvent, Policy};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), plan::PlanError> {
//! # let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../events");
//! # let manifests = rules::manifest::load(&folder).expect("the shipped manifests are valid");
//! # let sample = std::fs::read(folder.join("user-saved/sample.cloudevent")).expect("it is shipped as well");
//! let event = IncomingEvent::parse("user-saved", &[], &sample)?;
//! let plans = plan::plan(&event, &manifests, &Cluster::default(), &Policy::default());
//! let Ok(Action::Create { jobs, .. }) = &plans[0].outcome else { panic!("it makes a Job") };
//!
//! let (_stopper, stop) = job::stop::channel();
//! let backend = Backend::Recording(Recording::default());
//! let ran = backend.run(&jobs[0], EndedJobPolicy::Replace, &mut (), &stop).await;
//! assert!(matches!(ran.outcome, Outcome::Complete { .. }));
//! # Ok(())
//! # }
//! ```

mod adoption;
mod deadline;
#[cfg(feature = "docker")]
pub mod docker;
mod environment;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod policy;
pub mod process;
mod recording;
mod secret;
mod start_error;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use shared::error::Result;

use job::stop::Stop;
use rules::plan::{Identity, PlannedJob};

#[cfg(feature = "docker")]
pub use docker::Docker;
use job::{Failure, FailureClass};
pub use job::{Outcome, Ran, Report, Try};
#[cfg(feature = "kubernetes")]
pub use kubernetes::Kubernetes;
pub use process::Process;
pub use recording::Recording;
pub use secret::{Content, Kind as SourceKind, Source, Sources, content};

/// How many bytes of a Job's output are shown at most.
pub const MAX_LOGS: u64 = 64 << 10;

/// The right to run one Job. A Job that waits for another event's Job gives it up meanwhile.
pub trait Place: Send + Sync {
    /// Gives the place to another Job.
    fn leave(&mut self);
    /// Waits for a place, if it was left.
    fn enter(&mut self) -> BoxFuture<'_, ()>;
}

/// The number of Jobs is not limited.
impl Place for () {
    fn leave(&mut self) {}

    fn enter(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What an ended Job of another event means for the next Job with the same identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedJobPolicy {
    /// It is replaced, so that every event has its run.
    Replace,
    /// It stays, and the next Job does not run: `syncMode: OneTime`, once for each identity.
    Keep,
}

/// Something that runs Jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Child processes of this one.
    Process(Process),
    /// Containers of a Docker Engine.
    #[cfg(feature = "docker")]
    Docker(Docker),
    /// `batch/v1` Jobs of a cluster.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Kubernetes),
    /// Runs nothing and records its calls, for tests.
    Recording(Recording),
}

impl Backend {
    /// Runs the Job to its end, or adopts the Job that runs or ran for the same event.
    pub async fn run(
        &self,
        job: &PlannedJob,
        if_ended: EndedJobPolicy,
        place: &mut dyn Place,
        stop: &Stop,
    ) -> Ran {
        match self {
            Self::Process(process) => process.run(job, if_ended, place, stop).await,
            #[cfg(feature = "docker")]
            Self::Docker(docker) => docker.run(job, if_ended, place, stop).await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(kubernetes) => kubernetes.run(job, if_ended, place, stop).await,
            Self::Recording(recording) => recording.run(job, if_ended, stop).await,
        }
    }

    /// Ends and removes all Jobs of this identity (same trigger, source and subject). It is fine if there are none.
    pub async fn delete(&self, identity: &Identity) -> Result<()> {
        match self {
            Self::Process(process) => process.delete(identity).await,
            #[cfg(feature = "docker")]
            Self::Docker(docker) => docker.delete(identity).await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(kubernetes) => kubernetes.delete(identity).await,
            Self::Recording(recording) => recording.delete(identity).await,
        }
    }

    /// Removes ended Jobs of this identity that are not in `kept` (namespace and name), because the trigger does not
    /// render them any more. A running Job stays: its own event awaits it.
    pub async fn prune(&self, identity: &Identity, kept: &BTreeSet<(String, String)>) -> Result<()> {
        match self {
            Self::Process(process) => process.prune(identity, kept).await,
            #[cfg(feature = "docker")]
            Self::Docker(docker) => docker.prune(identity, kept).await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(kubernetes) => kubernetes.prune(identity, kept).await,
            Self::Recording(recording) => recording.prune(identity, kept).await,
        }
    }

    /// The last output of a Job's newest try, at most [`MAX_LOGS`] bytes; `None` if the Job does not exist.
    pub async fn logs(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        match self {
            Self::Process(process) => process.logs(namespace, name).await,
            #[cfg(feature = "docker")]
            Self::Docker(docker) => docker.logs(namespace, name).await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(kubernetes) => kubernetes.logs(namespace, name).await,
            Self::Recording(_) => Ok(None),
        }
    }

    /// Whether a Job can be started now.
    pub async fn check(&self) -> Result<()> {
        match self {
            Self::Process(process) => process.check().await,
            #[cfg(feature = "docker")]
            Self::Docker(docker) => docker.check().await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(kubernetes) => kubernetes.check(),
            Self::Recording(_) => Ok(()),
        }
    }

    /// Housekeeping until the dispatcher stops: removes Jobs whose `ttlSecondsAfterFinished` is over.
    pub async fn tidy(&self, stop: &Stop) {
        match self {
            Self::Process(process) => process.tidy(stop).await,
            #[cfg(feature = "docker")]
            Self::Docker(docker) => docker.tidy(stop).await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(_) => {}
            Self::Recording(_) => {}
        }
    }

    /// Ends every running child process without waiting, at a second stop signal. Containers and cluster Jobs go on,
    /// and the next dispatcher adopts them.
    pub fn abandon(&self) {
        if let Self::Process(process) = self {
            process.abandon();
        }
    }

    /// Its name in logs and pages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            #[cfg(feature = "docker")]
            Self::Docker(_) => "docker",
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(_) => "kubernetes",
            Self::Recording(_) => "recording",
        }
    }
}
