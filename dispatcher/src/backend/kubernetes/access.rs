//! How the API server is reached, and how much may be asked of it: the part of the command line, and the client.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use shared::error::{Error, Result};

use super::limit::Rate;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the cluster is.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Access {
    /// Kubeconfig file [default: those of KUBECONFIG, or ~/.kube/config, or the service account of this Pod]
    #[arg(long, value_name = "FILE", help_heading = "Kubernetes")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", env = "DISPATCHER_CONTEXT", help_heading = "Kubernetes")]
    pub context: Option<String>,
}

/// How much may be asked of the API server.
#[derive(Clone, Debug, clap::Args)]
pub struct Limits {
    /// Calls to the API server per second, on average at most
    #[arg(long, env = "DISPATCHER_KUBE_QPS", default_value = "50", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Kubernetes")]
    pub kube_qps: u32,
    /// Calls to the API server at once after a pause, at most
    #[arg(long, env = "DISPATCHER_KUBE_BURST", default_value = "100", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Kubernetes")]
    pub kube_burst: u32,
    /// Seconds after which all Jobs are listed anew, in case a watch went deaf
    #[arg(long, env = "DISPATCHER_KUBE_RELIST", default_value = "300", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Kubernetes")]
    pub kube_relist: u64,
}

impl Limits {
    pub(super) const fn rate(&self) -> Rate {
        Rate { per_second: self.kube_qps, burst: self.kube_burst }
    }

    pub(super) const fn relist(&self) -> Duration {
        Duration::from_secs(self.kube_relist)
    }
}

impl Access {
    /// A client that tries nothing again by itself: what to try again is decided where the calls are made.
    pub(crate) async fn client(&self) -> Result<kube::Client> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.default_retry = false;
        kube::Client::try_from(config)
            .map_err(|error| Error::configuration("cannot use the cluster's configuration").because(error))
    }

    async fn config(&self) -> Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        if let Some(path) = &self.kubeconfig {
            let wrong = |error| {
                Error::configuration(format!("cannot use the kubeconfig {}", path.display())).because(error)
            };
            let file = Kubeconfig::read_from(path).map_err(wrong)?;
            return Config::from_custom_kubeconfig(file, &options).await.map_err(wrong);
        }
        if let Some(context) = &self.context {
            return Config::from_kubeconfig(&options).await.map_err(|error| {
                Error::configuration(format!("cannot use the context {context} of the kubeconfig"))
                    .because(error)
            });
        }
        Config::infer().await.map_err(|error| {
            Error::configuration(
                "no cluster is configured: give --kubeconfig, set KUBECONFIG, or run in a Pod with a service account",
            )
            .because(error)
        })
    }
}
