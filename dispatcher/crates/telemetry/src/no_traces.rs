//! A build without traces: the same types and functions, without instances.

use std::convert::Infallible;
use std::time::Duration;

use job::JobRun;
use shared::config::Environment;
use shared::error::{Error, Result};

use crate::metrics::Metrics;

/// Has no instance.
#[derive(Clone, Debug)]
pub struct Settings(Infallible);

/// Has no instance.
#[derive(Clone, Debug)]
pub struct Traces(Infallible);

/// Has no instance.
#[derive(Debug)]
pub struct Sending(Infallible);

impl Settings {
    /// Refuses settings that this build does not support.
    pub fn read(environment: &Environment) -> Result<Option<Self>> {
        const NAMES: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        match NAMES.into_iter().find(|name| environment.get(name).is_some()) {
            None => Ok(None),
            Some(name) => Err(Error::configuration(format!(
                "{name} is set, but this dispatcher was built without the feature traces: unset it, or build with --features traces"
            ))),
        }
    }
}

impl Traces {
    /// Never called.
    #[expect(clippy::needless_pass_by_value, reason = "as in a build with traces")]
    pub fn start(settings: Settings, _metrics: Metrics) -> Result<(Self, Sending)> {
        match settings.0 {}
    }

    /// Never called.
    pub fn record(&self, _run: &JobRun) {
        match self.0 {}
    }
}

impl Sending {
    /// Never called.
    #[expect(clippy::unused_async, reason = "as in a build with traces")]
    pub async fn close(self, _limit: Duration) {
        match self.0 {}
    }
}
