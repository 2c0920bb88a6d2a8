//! Where Jobs run: one enum, one file per backend, one variant for tests.
//!
//! Each takes a [`PlannedJob`] to its end and says how it ended. Twice is the same as once: a Job of the same event is
//! adopted and awaited, an ended Job of another event is replaced, a running one is waited for.

mod adoption;
mod deadline;
pub mod docker;
mod environment;
pub mod kubernetes;
mod outcome;
mod policy;
pub mod process;
mod recording;
mod secret;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use shared::error::Result;

use crate::engine::stop::Stop;
use crate::plan::{Identity, PlannedJob};

pub use docker::Docker;
pub use kubernetes::Kubernetes;
pub use outcome::{Cause, Outcome, Ran, Report, Try};
pub use process::Process;
pub use recording::Recording;
pub use secret::{Source, Sources};

/// Of a Job's output at most so many bytes are shown.
pub const MAX_LOGS: u64 = 64 << 10;

/// What an ended Job of another event means for the next one with the same identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It is replaced: every event has its run.
    Replace,
    /// It stays: `syncMode: OneTime`, once per identity.
    Never,
}

/// Something that runs Jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Child processes of this one.
    Process(Process),
    /// Containers of a Docker Engine.
    Docker(Docker),
    /// `batch/v1` Jobs of a cluster.
    Kubernetes(Kubernetes),
    /// Runs nothing and remembers everything: for tests.
    Recording(Recording),
}

impl Backend {
    /// Runs the Job to its end, or adopts the one that runs or ran for the same event.
    pub async fn run(&self, job: &PlannedJob, again: Again, stop: &Stop) -> Ran {
        match self {
            Self::Process(process) => process.run(job, again, stop).await,
            Self::Docker(docker) => docker.run(job, again, stop).await,
            Self::Kubernetes(kubernetes) => kubernetes.run(job, again, stop).await,
            Self::Recording(recording) => recording.run(job, again, stop).await,
        }
    }

    /// Ends and removes what was made for this identity (same trigger, source and subject). Nothing there is fine.
    pub async fn delete(&self, identity: &Identity) -> Result<()> {
        match self {
            Self::Process(process) => process.delete(identity).await,
            Self::Docker(docker) => docker.delete(identity).await,
            Self::Kubernetes(kubernetes) => kubernetes.delete(identity).await,
            Self::Recording(recording) => recording.delete(identity).await,
        }
    }

    /// Removes ended Jobs of this identity that are none of `kept`, by namespace and name: they are not rendered any more. One
    /// that runs stays: its own event awaits it.
    pub async fn prune(&self, identity: &Identity, kept: &BTreeSet<(String, String)>) -> Result<()> {
        match self {
            Self::Process(process) => process.prune(identity, kept).await,
            Self::Docker(docker) => docker.prune(identity, kept).await,
            Self::Kubernetes(kubernetes) => kubernetes.prune(identity, kept).await,
            Self::Recording(recording) => recording.prune(identity, kept).await,
        }
    }

    /// The last output of a Job's newest try, at most [`MAX_LOGS`] bytes. `None`: it is gone, or never was.
    pub async fn logs(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        match self {
            Self::Process(process) => process.logs(namespace, name).await,
            Self::Docker(docker) => docker.logs(namespace, name).await,
            Self::Kubernetes(kubernetes) => kubernetes.logs(namespace, name).await,
            Self::Recording(_) => Ok(None),
        }
    }

    /// Whether a Job could be started now.
    pub async fn check(&self) -> Result<()> {
        match self {
            Self::Process(process) => process.check().await,
            Self::Docker(docker) => docker.check().await,
            Self::Kubernetes(kubernetes) => kubernetes.check(),
            Self::Recording(_) => Ok(()),
        }
    }

    /// Housekeeping until the dispatcher stops: removes what outlived its `ttlSecondsAfterFinished`.
    pub async fn tidy(&self, stop: &Stop) {
        match self {
            Self::Process(process) => process.tidy(stop).await,
            Self::Docker(docker) => docker.tidy(stop).await,
            Self::Kubernetes(_) | Self::Recording(_) => {}
        }
    }

    /// Ends every running Job without waiting: the last word of a second stop signal. Containers and cluster Jobs stay: the
    /// next dispatcher adopts them.
    pub fn abandon(&self) {
        if let Self::Process(process) = self {
            process.abandon();
        }
    }

    /// The word for logs and pages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::Docker(_) => "docker",
            Self::Kubernetes(_) => "kubernetes",
            Self::Recording(_) => "recording",
        }
    }
}
