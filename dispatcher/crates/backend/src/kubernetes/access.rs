//! The client of the API server, and its settings: address, login and rate limits.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use shared::error::{Error, Result};

use super::rate_limit::Rate;

/// The user agent, for audit logs and flow schemas.
const USER_AGENT: http::HeaderValue =
    http::HeaderValue::from_static(concat!("knapscen-dispatcher/", env!("CARGO_PKG_VERSION")));

/// The time limit for making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach the API server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Kubeconfig file [default: those of KUBECONFIG, or ~/.kube/config, or the service account of this Pod]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    pub context: Option<String>,
}

/// How much may be asked of the API server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Calls to the API server per second, on average at most
    pub kube_qps: u32,
    /// Calls to the API server at once after a pause, at most
    pub kube_burst: u32,
    /// Seconds between lists of all Jobs, in case a watch receives nothing any more
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
    /// A client without retries of its own: the code that makes the calls decides what to repeat.
    pub async fn client(&self) -> Result<kube::Client> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.default_retry = false;
        config.headers.push((http::header::USER_AGENT, USER_AGENT));
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
