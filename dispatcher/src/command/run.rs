//! `dispatcher run`: the service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use shared::config::Environment;
use shared::error::{Error, Result};

use super::planning::Planning;
use super::service::{self, BackendChoice, Parts, Service};
use crate::backend::process::{self, Images, Source};
use crate::engine::Settings;
use crate::server::Tokens;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum BackendName {
    /// Child processes on this machine
    Process,
    /// Containers of a Docker Engine
    Docker,
    /// Jobs of a Kubernetes cluster
    Kubernetes,
}

/// The service: take events, run Jobs, until told to stop
#[derive(clap::Args)]
#[command(
    after_help = "Tokens come from the environment only: EVENTS_TOKEN for POST /events, ADMIN_TOKEN for dead letters.\n\n\
    Examples:\n  dispatcher run --backend process --secret knapscen-config=knapscen-config.env\n  \
    dispatcher run --bus embedded --queue queue.db --backend process --secret knapscen-config=knapscen-config.env"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    bus: crate::bus::Settings,
    /// Folder with the manifests; read again when it changes
    #[arg(long, env = "DISPATCHER_EVENTS", default_value = "events")]
    events: PathBuf,
    /// Where Jobs run
    #[arg(long, env = "DISPATCHER_BACKEND", value_enum, default_value = "process")]
    backend: BackendName,
    /// Address of the HTTP server
    #[arg(long, env = "DISPATCHER_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Jobs that run at once, at most [default: twice the cores, at least 4]
    #[arg(long, env = "DISPATCHER_MAX_RUNNING")]
    max_running: Option<NonZeroUsize>,
    /// Deliveries of one event before it is a dead letter
    #[arg(long, env = "DISPATCHER_MAX_ATTEMPTS", default_value = "20", value_parser = clap::value_parser!(u64).range(1..))]
    max_attempts: u64,
    /// Seconds that running Jobs may take to finish after SIGTERM
    #[arg(long, env = "DISPATCHER_GRACE", default_value = "20")]
    grace: u64,
    #[command(flatten)]
    planning: Planning,
    #[command(flatten)]
    process: ProcessArguments,
}

#[derive(clap::Args)]
pub(super) struct ProcessArguments {
    /// Folder with the workers' binaries [default: beside this program]
    #[arg(long, env = "DISPATCHER_BIN_DIR", help_heading = "Process backend")]
    bin_dir: Option<PathBuf>,
    /// Binary of an image, instead of its last name in the folder; repeatable
    #[arg(long = "image", value_name = "IMAGE=PATH", value_parser = pair, help_heading = "Process backend")]
    images: Vec<(String, String)>,
    /// Secret that Jobs refer to: an env file, a manifest, or a folder of keys; repeatable
    #[arg(long = "secret", value_name = "NAME=PATH", value_parser = pair, help_heading = "Process backend")]
    secrets: Vec<(String, String)>,
    /// ConfigMap that Jobs refer to, likewise
    #[arg(long = "config-map", value_name = "NAME=PATH", value_parser = pair, help_heading = "Process backend")]
    config_maps: Vec<(String, String)>,
    /// Folder for records and outputs of Jobs
    #[arg(
        long,
        env = "DISPATCHER_STATE_DIR",
        default_value = "dispatcher-state",
        help_heading = "Process backend"
    )]
    state_dir: PathBuf,
    /// Milliseconds before a failed Job's second try; doubles
    #[arg(long, env = "DISPATCHER_BACKOFF_MS", default_value = "1000", help_heading = "Process backend")]
    backoff_ms: u64,
}

impl ProcessArguments {
    fn settings(self) -> Result<process::Settings> {
        let sources = |pairs: Vec<(String, String)>| -> BTreeMap<_, _> {
            pairs.into_iter().map(|(name, path)| (name, Source(path.into()))).collect()
        };
        let bin_dir = match self.bin_dir {
            Some(folder) => folder,
            None => own_folder()?,
        };
        if !bin_dir.is_dir() {
            let message = format!(
                "--bin-dir {} is no folder; name the one with the workers' binaries",
                bin_dir.display()
            );
            return Err(Error::configuration(message));
        }
        Ok(process::Settings {
            images: Images {
                bin_dir,
                overrides: self.images.into_iter().map(|(image, path)| (image, path.into())).collect(),
            },
            secrets: sources(self.secrets),
            config_maps: sources(self.config_maps),
            state_dir: self.state_dir,
            backoff: Duration::from_millis(self.backoff_ms),
            sink: None,
        })
    }
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    let environment = Environment::from_process()?;
    let token = |name: &str| environment.get(name).map(|token| token.to_owned().into());
    let max_running = arguments.max_running.map_or_else(default_max_running, NonZeroUsize::get);
    let backend = match arguments.backend {
        BackendName::Process => BackendChoice::Process(arguments.process.settings()?),
        BackendName::Docker => BackendChoice::Docker,
        BackendName::Kubernetes => BackendChoice::Kubernetes,
    };
    let starting = Service::start(Parts {
        events: arguments.events.clone(),
        bus: arguments.bus,
        backend,
        engine: Settings {
            max_running,
            max_attempts: arguments.max_attempts,
            cluster: arguments.planning.cluster(),
            policy: arguments.planning.policy(),
        },
        listen: arguments.listen,
        tokens: Tokens { events: token("EVENTS_TOKEN"), admin: token("ADMIN_TOKEN"), ..Tokens::default() },
    });
    // As PID 1 a process that does not listen ignores SIGTERM, and the start may wait for its server.
    let service = tokio::select! {
        started = starting => started?,
        signalled = service::signalled() => return signalled.map(|()| ExitCode::SUCCESS),
    };
    tracing::info!(
        events = %arguments.events.display(), page = %format!("http://{}/", service.address), max_running, "the dispatcher runs"
    );
    service.until_signal(Duration::from_secs(arguments.grace)).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Twice the cores, at least 4.
pub(super) fn default_max_running() -> usize {
    std::thread::available_parallelism().map_or(4, |cores| (cores.get() * 2).max(4))
}

/// The folder of this program.
pub(super) fn own_folder() -> Result<PathBuf> {
    let own = std::env::current_exe()
        .map_err(|error| Error::configuration("cannot find this program").because(error))?;
    Ok(own.parent().map(PathBuf::from).unwrap_or_default())
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write it as NAME=PATH".to_owned()),
    }
}
