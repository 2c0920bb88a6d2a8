//! `dispatcher run`: the service.

use std::collections::BTreeMap;
#[cfg(feature = "docker")]
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use shared::config::{Environment, shown};
use shared::error::{Error, Result};

use super::backend_arguments::BackendName;
#[cfg(feature = "kubernetes")]
use super::backend_arguments::{AccessArguments, LimitArguments};
use super::bus_access::BusArguments;
use super::number::{MOST, whole};
use super::planning::Planning;
use super::service::{self, BackendChoice, Parts, Service};
use crate::engine::Settings;
use crate::manifest_source::Origin;
use crate::server::Tokens;
use crate::traces;
#[cfg(feature = "docker")]
use backend::docker;
#[cfg(feature = "kubernetes")]
use backend::kubernetes;
use backend::process::{self, Absent, Images};
use backend::{Source, Sources};
use history::{History, Keep};

/// The service: take events, run Jobs, until told to stop
#[derive(clap::Args)]
#[command(
    after_help = "Tokens come from the environment only: EVENTS_TOKEN for POST /events, ADMIN_TOKEN for the page's login and dead letters.\n\
    The history of Jobs is kept in the database of DATABASE_URL, or of DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME; without one, in memory.\n\
    Traces are sent where OTEL_EXPORTER_OTLP_ENDPOINT is set; the other OTEL_ variables are in OPERATIONS.md.\n\n\
    Examples:\n  dispatcher run --backend process --secret knapscen-config=knapscen-config.env\n  \
    dispatcher run --bus embedded --queue queue.db --backend process --secret knapscen-config=knapscen-config.env"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    bus: BusArguments,
    /// Folder with the manifests; read again when it changes
    #[arg(long, env = "DISPATCHER_EVENTS", default_value = "events")]
    events: PathBuf,
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Where Jobs run
    #[arg(long, env = "DISPATCHER_BACKEND", value_enum, default_value = "process")]
    backend: BackendName,
    /// Address of the HTTP server
    #[arg(long, env = "DISPATCHER_LISTEN", default_value = "127.0.0.1:8080", value_parser = super::address::address)]
    listen: SocketAddr,
    /// Jobs that run at once, at most [default: twice the cores, at least 4; 100 on a cluster]
    #[arg(long, env = "DISPATCHER_MAX_RUNNING", value_parser = whole(NonZeroUsize::MIN..=MOST_RUNNING))]
    max_running: Option<NonZeroUsize>,
    /// Attempts of one event before it is a dead letter
    #[arg(long, env = "DISPATCHER_MAX_ATTEMPTS", default_value = "20", value_parser = whole(1..=MOST))]
    max_attempts: u64,
    /// Seconds that an event waits for a trigger that takes it before it is a dead letter
    #[arg(long, env = "DISPATCHER_UNMATCHED_AFTER", default_value = "900", value_parser = whole(0..=MOST))]
    unmatched_after: u64,
    /// Seconds to wait before a trigger that is missing from the changed folder is really removed
    #[arg(long, env = "DISPATCHER_REMOVAL_AFTER", default_value = "30", value_parser = whole(0..=MOST))]
    removal_after: u64,
    /// Seconds that running Jobs may take to finish after SIGTERM
    #[arg(long, env = "DISPATCHER_GRACE", default_value = "20", value_parser = whole(0..=MOST))]
    grace: u64,
    /// Days that the history of Jobs is kept; failed ones stay until they are replayed or dropped
    #[arg(long, env = "DISPATCHER_HISTORY_DAYS", default_value = "90", value_parser = whole(1..=36_500_u64))]
    history_days: u64,
    #[command(flatten)]
    planning: Planning,
    #[command(flatten)]
    jobs: JobArguments,
    #[command(flatten)]
    process: ProcessArguments,
    #[cfg(feature = "docker")]
    #[command(flatten)]
    docker: DockerArguments,
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    kubernetes: KubernetesArguments,
}

/// Settings that only backends without a cluster need.
#[derive(clap::Args)]
struct JobArguments {
    /// Secret that Jobs refer to: an env file, a manifest, or a folder of keys; repeatable
    #[arg(
        long = "secret",
        value_name = "NAME=PATH",
        value_parser = pair("NAME=PATH"),
        env = "DISPATCHER_SECRETS",
        value_delimiter = ',',
        help_heading = "Process and docker backends"
    )]
    secrets: Vec<(String, String)>,
    /// ConfigMap that Jobs refer to: an env file, a manifest, or a folder of keys; repeatable
    #[arg(
        long = "config-map",
        value_name = "NAME=PATH",
        value_parser = pair("NAME=PATH"),
        env = "DISPATCHER_CONFIG_MAPS",
        value_delimiter = ',',
        help_heading = "Process and docker backends"
    )]
    config_maps: Vec<(String, String)>,
    /// Milliseconds before a failed Job's second try; doubles
    #[arg(
        long,
        env = "DISPATCHER_BACKOFF_MS",
        default_value = "1000",
        value_parser = whole(0..=MOST),
        help_heading = "Process and docker backends"
    )]
    backoff_ms: u64,
}

impl JobArguments {
    fn sources(&self) -> Sources {
        let sources = |pairs: &[(String, String)]| -> BTreeMap<_, _> {
            pairs.iter().map(|(name, path)| (name.clone(), Source(path.into()))).collect()
        };
        Sources { secrets: sources(&self.secrets), config_maps: sources(&self.config_maps) }
    }

    const fn backoff(&self) -> Duration {
        Duration::from_millis(self.backoff_ms)
    }
}

#[cfg(feature = "docker")]
/// The default address of an engine.
const ENGINE_HERE: &str = "unix:///var/run/docker.sock";

#[cfg(feature = "docker")]
/// The engine. Whoever may use its socket is as good as root on its machine: give it to the dispatcher alone, as a rootless
/// engine's socket or through a proxy that allows the calls of containers and images only.
#[derive(clap::Args)]
#[expect(clippy::struct_field_names, reason = "the names are those of the options")]
struct DockerArguments {
    /// Address of the engine, as unix:// and a path, or tcp:// with host and port of a proxy or a remote engine
    #[arg(
        long,
        env = "DOCKER_HOST",
        default_value = ENGINE_HERE,
        value_name = "ADDRESS",
        help_heading = "Docker backend"
    )]
    docker_host: String,
    /// Folder with the config.json of docker login, for registries that want to know who pulls [default: .docker in HOME]
    #[arg(long, env = "DOCKER_CONFIG", value_name = "FOLDER", help_heading = "Docker backend")]
    docker_config: Option<OsString>,
    /// Network that the containers join [default: the engine's own]
    #[arg(long, env = "DISPATCHER_DOCKER_NETWORK", value_name = "NAME", help_heading = "Docker backend")]
    docker_network: Option<String>,
    /// First part of the containers' names, one per stack on an engine; its dispatchers share it
    #[arg(
        long,
        env = "DISPATCHER_DOCKER_SCOPE",
        default_value = "knapscen",
        value_name = "WORD",
        help_heading = "Docker backend"
    )]
    docker_scope: String,
    /// Label for every container; repeatable
    #[arg(
        long = "docker-label",
        env = "DISPATCHER_DOCKER_LABELS",
        value_name = "KEY=VALUE",
        value_parser = pair("KEY=VALUE"),
        value_delimiter = ',',
        help_heading = "Docker backend"
    )]
    docker_labels: Vec<(String, String)>,
}

#[cfg(feature = "docker")]
impl DockerArguments {
    /// An empty variable is an unset one.
    fn settings(self, jobs: &JobArguments) -> docker::Settings {
        docker::Settings {
            host: if self.docker_host.is_empty() { ENGINE_HERE.to_owned() } else { self.docker_host },
            network: self.docker_network.filter(|name| !name.is_empty()),
            scope: self.docker_scope,
            labels: self.docker_labels.into_iter().collect(),
            sources: jobs.sources(),
            docker_config: self
                .docker_config
                .filter(|folder| !folder.is_empty())
                .map(PathBuf::from)
                .or_else(of_login),
            backoff: jobs.backoff(),
        }
    }
}

#[cfg(feature = "docker")]
/// The folder in which `docker login` stores credentials.
fn of_login() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"))
}

#[cfg(feature = "kubernetes")]
/// Manifests from the objects of a cluster.
#[derive(clap::Args)]
struct ClusterArguments {
    /// Take the manifests from the cluster instead of the folder: EventSources, EventTriggers and ConfigMaps, watched
    #[arg(long, env = "DISPATCHER_FROM_CLUSTER", help_heading = "Manifests from the cluster")]
    from_cluster: bool,
    /// Namespace of ConfigMaps that triggers refer to; repeatable [default: those of --namespace]
    #[arg(
        long = "manifest-namespace",
        value_name = "NAME",
        env = "DISPATCHER_MANIFEST_NAMESPACES",
        value_parser = super::planning::namespace,
        value_delimiter = ',',
        help_heading = "Manifests from the cluster"
    )]
    manifest_namespaces: Vec<String>,
}

#[cfg(feature = "kubernetes")]
impl ClusterArguments {
    async fn open(
        self,
        folder: PathBuf,
        access: kubernetes::Access,
        job_namespaces: Vec<String>,
        labels: BTreeMap<String, String>,
    ) -> Result<Origin> {
        if !self.from_cluster {
            return Ok(Origin::Folder(folder));
        }
        let namespaces =
            if self.manifest_namespaces.is_empty() { job_namespaces } else { self.manifest_namespaces };
        let client = access.client().await?;
        let namespaces = namespaces.into_iter().collect();
        crate::manifest_source::Cluster::open(client, labels, &namespaces).await.map(Origin::Cluster)
    }
}

#[cfg(feature = "kubernetes")]
/// The cluster.
#[derive(clap::Args)]
struct KubernetesArguments {
    #[command(flatten)]
    access: AccessArguments,
    #[command(flatten)]
    limits: LimitArguments,
    /// Seconds without a running Pod before the event of a Job is given up, with Kubernetes' message as the reason
    #[arg(
        long,
        env = "DISPATCHER_STUCK_AFTER",
        default_value = "300",
        value_parser = whole(1..=MOST),
        value_name = "SECONDS",
        help_heading = "Kubernetes"
    )]
    stuck_after: u64,
}

#[derive(clap::Args)]
pub(super) struct ProcessArguments {
    /// Folder with the workers' binaries [default: beside this program]
    #[arg(long, env = "DISPATCHER_BIN_DIR", help_heading = "Process backend")]
    bin_dir: Option<PathBuf>,
    /// Binary of an image, instead of its last name in the folder; repeatable
    #[arg(long = "image", value_name = "IMAGE=PATH", value_parser = pair("IMAGE=PATH"), help_heading = "Process backend")]
    images: Vec<(String, String)>,
    /// Folder for records and outputs of Jobs
    #[arg(
        long,
        env = "DISPATCHER_STATE_DIR",
        default_value = "dispatcher-state",
        help_heading = "Process backend"
    )]
    state_dir: PathBuf,
}

impl ProcessArguments {
    fn settings(self, jobs: &JobArguments) -> Result<process::Settings> {
        let bin_dir = match self.bin_dir {
            Some(folder) => folder,
            None => own_folder()?,
        };
        if !bin_dir.is_dir() {
            let message = format!(
                "--bin-dir {} is no folder; name the one with the workers' binaries",
                shown(&bin_dir)
            );
            return Err(Error::configuration(message));
        }
        Ok(process::Settings {
            images: Images {
                bin_dir,
                overrides: self.images.into_iter().map(|(image, path)| (image, path.into())).collect(),
            },
            sources: jobs.sources(),
            state_dir: self.state_dir,
            backoff: jobs.backoff(),
            absent: Absent::new(process::IMAGE_PATIENCE),
            sink: None,
            leaves_jobs: true,
        })
    }
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    let environment = Environment::from_process()?;
    let token = |name: &str| environment.get(name).map(|token| token.to_owned().into());
    let usual = match arguments.backend {
        BackendName::Process | BackendName::Docker => default_max_running(),
        BackendName::Kubernetes => MAX_RUNNING_ON_A_CLUSTER,
    };
    let max_running = arguments.max_running.map_or(usual, NonZeroUsize::get);
    #[cfg(not(feature = "kubernetes"))]
    let opening = std::future::ready(Result::Ok(Origin::Folder(arguments.events)));
    #[cfg(feature = "kubernetes")]
    let opening = arguments.cluster.open(
        arguments.events,
        arguments.kubernetes.access.clone().into(),
        arguments.planning.namespaces.clone(),
        arguments.planning.cluster().labels,
    );
    let backend = match arguments.backend {
        BackendName::Process => BackendChoice::Process(arguments.process.settings(&arguments.jobs)?),
        #[cfg(feature = "docker")]
        BackendName::Docker => BackendChoice::Docker(arguments.docker.settings(&arguments.jobs)),
        #[cfg(feature = "kubernetes")]
        BackendName::Kubernetes => BackendChoice::Kubernetes(kubernetes::Settings {
            access: arguments.kubernetes.access.into(),
            limits: arguments.kubernetes.limits.into(),
            namespaces: arguments.planning.namespaces.iter().cloned().collect(),
            stuck_after: Duration::from_secs(arguments.kubernetes.stuck_after),
        }),
        #[cfg(not(all(feature = "docker", feature = "kubernetes")))]
        left_out => return Err(left_out.left_out()),
    };
    let history = History::open(&environment, Keep::days(arguments.history_days)).await?;
    let has_outbox = ["DATABASE_URL", "DB_HOST"].iter().any(|name| environment.get(name).is_some());
    let outbox = has_outbox.then(|| shared::database::Settings::read(&environment)).transpose()?;
    let engine = Settings {
        max_running,
        max_attempts: arguments.max_attempts,
        unmatched_after: Duration::from_secs(arguments.unmatched_after),
        cluster: arguments.planning.cluster(),
        policy: arguments.planning.policy(),
    };
    let tokens = Tokens { events: token("EVENTS_TOKEN"), admin: token("ADMIN_TOKEN"), ..Tokens::default() };
    tokens.check_length()?;
    let traces = traces::Settings::read(&environment)?;
    let starting = async {
        let origin = opening.await?;
        let (bus, listen) = (arguments.bus.into(), arguments.listen);
        let removal_after = Duration::from_secs(arguments.removal_after);
        Service::start(Parts {
            origin,
            removal_after,
            bus,
            backend,
            engine,
            listen,
            tokens,
            history,
            outbox,
            traces,
        })
        .await
    };
    // As PID 1, a process without a handler ignores SIGTERM, and the start may have to wait for a server.
    let service = tokio::select! {
        started = starting => started?,
        signalled = service::signalled() => return signalled.map(|()| ExitCode::SUCCESS),
    };
    tracing::info!(
        events = %service.origin, page = %format!("http://{}/", service.address), max_running, "the dispatcher runs"
    );
    service.until_signal(Duration::from_secs(arguments.grace)).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// More would only be a slip of the keyboard.
pub(super) const MOST_RUNNING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99_999);

/// On a cluster, Jobs run elsewhere, and the cluster's quota and scheduler also limit them.
const MAX_RUNNING_ON_A_CLUSTER: usize = 100;

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

/// The name is printed from now on, so it must not be an address with a password.
fn pair(form: &'static str) -> impl Fn(&str) -> std::result::Result<(String, String), String> + Clone {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    let is_name = move |name: &str| name.bytes().all(is_usual) && !name.contains("://");
    move |text| match text.trim().split_once('=') {
        Some((name, value)) if !name.is_empty() && is_name(name) && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("write it as {form}")),
    }
}

#[cfg(test)]
#[cfg(feature = "docker")]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn docker(arguments: &[&str]) -> docker::Settings {
        let command = DockerArguments::augment_args(clap::Command::new("run"));
        let matches = command.try_get_matches_from([&["run"], arguments].concat()).unwrap();
        let jobs = JobArguments { secrets: Vec::new(), config_maps: Vec::new(), backoff_ms: 0 };
        DockerArguments::from_arg_matches(&matches).unwrap().settings(&jobs)
    }

    #[test]
    fn an_empty_address_or_network_is_none() {
        let given = docker(&["--docker-host", "tcp://proxy:2375", "--docker-network", "stack"]);
        assert_eq!((given.host.as_str(), given.network.as_deref()), ("tcp://proxy:2375", Some("stack")));
        let empty = docker(&["--docker-host", "", "--docker-network", "", "--docker-config", ""]);
        assert_eq!((empty.host.as_str(), empty.network), (ENGINE_HERE, None));
        assert_eq!(empty.docker_config, of_login());
    }
}
