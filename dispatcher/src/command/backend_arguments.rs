//! The backends on the command line: their names, and how to reach a cluster.

use crate::plan::BackendKind;

/// Where Jobs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendName {
    /// Child processes on this machine
    Process,
    /// Containers of a Docker Engine
    Docker,
    /// Jobs of a Kubernetes cluster
    Kubernetes,
}

#[cfg(not(all(feature = "docker", feature = "kubernetes")))]
impl BackendName {
    /// This build does not contain the backend.
    pub(super) fn left_out(self) -> shared::Error {
        let name = BackendKind::from(self);
        shared::Error::configuration(format!(
            "this dispatcher was built without the backend {name}: build it with --features {name}"
        ))
    }
}

impl From<BackendName> for BackendKind {
    fn from(name: BackendName) -> Self {
        match name {
            BackendName::Process => Self::Process,
            BackendName::Docker => Self::Docker,
            BackendName::Kubernetes => Self::Kubernetes,
        }
    }
}

#[cfg(feature = "kubernetes")]
pub use cluster::AccessArguments;
#[cfg(feature = "kubernetes")]
pub(super) use cluster::LimitArguments;

#[cfg(feature = "kubernetes")]
mod cluster {
    use std::path::PathBuf;

    use backend::kubernetes::{Access, Limits};

    use super::super::number::{MOST, whole};

    /// Where the cluster is.
    #[derive(Clone, Debug, Default, clap::Args)]
    pub struct AccessArguments {
        /// Kubeconfig file [default: those of KUBECONFIG, or ~/.kube/config, or the service account of this Pod]
        #[arg(long, value_name = "FILE", help_heading = "Kubernetes")]
        kubeconfig: Option<PathBuf>,
        /// Context of the kubeconfig [default: its current one]
        #[arg(long, value_name = "NAME", env = "DISPATCHER_CONTEXT", help_heading = "Kubernetes")]
        context: Option<String>,
    }

    impl From<AccessArguments> for Access {
        fn from(AccessArguments { kubeconfig, context }: AccessArguments) -> Self {
            Self { kubeconfig, context }
        }
    }

    /// How much may be asked of the API server.
    #[derive(Clone, Debug, clap::Args)]
    #[expect(clippy::struct_field_names, reason = "the names are those of the options")]
    pub struct LimitArguments {
        /// Calls to the API server per second, on average at most
        #[arg(long, env = "DISPATCHER_KUBE_QPS", default_value = "500", value_parser = whole(1..=u32::MAX), help_heading = "Kubernetes")]
        kube_qps: u32,
        /// Calls to the API server at once after a pause, at most
        #[arg(long, env = "DISPATCHER_KUBE_BURST", default_value = "1000", value_parser = whole(1..=u32::MAX), help_heading = "Kubernetes")]
        kube_burst: u32,
        /// Seconds between lists of all Jobs, in case a watch receives nothing any more
        #[arg(long, env = "DISPATCHER_KUBE_RELIST", default_value = "300", value_parser = whole(1..=MOST), help_heading = "Kubernetes")]
        kube_relist: u64,
    }

    impl From<LimitArguments> for Limits {
        fn from(LimitArguments { kube_qps, kube_burst, kube_relist }: LimitArguments) -> Self {
            Self { kube_qps, kube_burst, kube_relist }
        }
    }
}
