//! `dispatcher healthcheck`: exit code 0 if a dispatcher answers, for images without a shell.

use std::process::ExitCode;
use std::time::Duration;

use shared::error::{Error, Result};

/// Ask a running dispatcher whether it is alive
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Address to ask
    #[arg(long, env = "HEALTHCHECK_URL", default_value = "http://127.0.0.1:8080/healthz")]
    url: String,
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    let client = super::publish::http_client(Duration::from_secs(3))?;
    let failed = |error: reqwest::Error| {
        Error::unavailable(format!("{} does not answer", arguments.url)).because(error.without_url())
    };
    let answer = client.get(&arguments.url).send().await.map_err(failed)?;
    answer.error_for_status().map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}
