//! Assembles a dispatcher from its parts: bus, backend, rules, engine, server. `run` and `demo` both use it.

use std::net::SocketAddr;
use std::time::Duration;

use shared::error::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::bus_access::failed;
use crate::engine::{Engine, Settings};
use crate::flow::Flow;
use crate::manifest::{Problem, Severity};
use crate::manifest_source::Origin;
use crate::manifest_source::Rules;
use crate::metrics::Metrics;
use crate::observer::{Observer, Watcher};
use crate::onboarding::{Reconcile, step};
use crate::plan::{Given, Needs};
use crate::republish;
use crate::server::{self, App, AppParts, Tokens};
use crate::traces::{self, Sending, Traces};
use backend::{Backend, Process, process};
#[cfg(feature = "docker")]
use backend::{Docker, docker};
#[cfg(feature = "kubernetes")]
use backend::{Kubernetes, kubernetes};
use bus::{Access, Bus};
use history::{History, LAST_WITHIN};
use job::stop::{Stop, Stopper, channel};

/// How long Jobs that were told to end, and the answers to their events, may take. Events without an answer by then
/// come again.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// How long closing the bus may take.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// How long server, watchers and the like may take to end.
const TASKS_WITHIN: Duration = Duration::from_secs(2);

/// How much longer a stop may take because a collector is slow.
const LAST_SPANS_WITHIN: Duration = Duration::from_secs(5);

/// The backend, with its settings.
pub(super) enum BackendChoice {
    /// Child processes.
    Process(process::Settings),
    /// Containers.
    #[cfg(feature = "docker")]
    Docker(docker::Settings),
    /// Jobs of a cluster.
    #[cfg(feature = "kubernetes")]
    Kubernetes(kubernetes::Settings),
}

impl BackendChoice {
    /// The Secrets and ConfigMaps that Jobs can refer to; `None` if only a cluster knows them.
    fn given(&self) -> Option<Given> {
        let sources = match self {
            Self::Process(settings) => &settings.sources,
            #[cfg(feature = "docker")]
            Self::Docker(settings) => &settings.sources,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(_) => return None,
        };
        Some(Given {
            secrets: sources.secrets.keys().cloned().collect(),
            config_maps: sources.config_maps.keys().cloned().collect(),
        })
    }
}

/// The settings of a service.
pub(super) struct Parts {
    pub(super) origin: Origin,
    /// How long manifests that lack a trigger of those in force must stay unchanged before they count.
    pub(super) removal_after: Duration,
    pub(super) bus: bus::Settings,
    pub(super) backend: BackendChoice,
    pub(super) engine: Settings,
    pub(super) listen: SocketAddr,
    pub(super) tokens: Tokens,
    pub(super) history: History,
    /// The database of the workers' outbox, if it is known.
    pub(super) outbox: Option<shared::database::Settings>,
    pub(super) traces: Option<traces::Settings>,
}

/// A running service.
pub(super) struct Service {
    pub(super) bus: Bus,
    pub(super) metrics: Metrics,
    pub(super) address: SocketAddr,
    /// The origin of the manifests, for messages.
    pub(super) origin: String,
    /// The version of the manifests at the start.
    pub(super) flow: Flow,
    engine: Engine,
    backend: Backend,
    sending: Option<Sending>,
    stopper: Stopper,
    history: JoinHandle<()>,
    history_stopper: Stopper,
    tasks: Vec<JoinHandle<()>>,
    loop_: JoinHandle<()>,
}

impl Service {
    /// Starts everything. Wrong settings are reported before anything runs.
    pub(super) async fn start(parts: Parts) -> Result<Self> {
        let origin = parts.origin.to_string();
        let needs = Needs { cluster: parts.engine.cluster.clone(), given: parts.backend.given() };
        let rules = load(&parts.origin, needs).await?.removing_after(parts.removal_after);
        let listener = server::listen(parts.listen).await?;
        let address =
            listener.local_addr().map_err(|error| Error::bug("the port has no address").because(error))?;
        let mut tokens = parts.tokens;
        tokens.loopback = address.ip().is_loopback();
        let backend = open_backend(parts.backend, &parts.bus, address, &mut tokens).await?;
        // Last, because it waits for its server; wrong settings are reported before.
        let bus = Bus::open(&parts.bus, Access::Consume).await.map_err(failed)?;
        // Before anybody can publish, because the bus refuses subjects that it does not keep yet.
        bus.ensure_subjects(&rules.subjects()).await.map_err(failed)?;
        let metrics = Metrics::default();
        metrics.build(bus.name(), backend.name());
        metrics.jobs_limit(parts.engine.max_running);
        metrics.expect(rules.subjects(), rules.triggers());
        let (stopper, stop) = channel();
        let (traces, sending) =
            parts.traces.map(|settings| Traces::start(settings, metrics.clone())).transpose()?.unzip();
        let history_watcher = Watcher::History(parts.history.clone());
        let observer = Observer::new([history_watcher].into_iter().chain(traces.map(Watcher::Traces)));
        let (cluster, policy) = (parts.engine.cluster.clone(), parts.engine.policy.clone());
        let engine =
            Engine::new(bus.clone(), backend.clone(), rules.clone(), metrics.clone(), observer, parts.engine);
        let history = parts.history;
        let app = App::new(AppParts {
            bus: bus.clone(),
            backend: backend.clone(),
            rules: rules.clone(),
            metrics: metrics.clone(),
            parked: engine.parked(),
            history: history.clone(),
            cluster: cluster.clone(),
            policy,
            tokens,
            stop: stop.clone(),
        });
        let mut tasks = vec![
            tokio::spawn(server::serve(listener, app.router(), stop.clone())),
            tokio::spawn(follow(rules.clone(), parts.origin, stop.clone())),
            tokio::spawn(tidy(backend.clone(), stop.clone())),
        ];
        if let Some(settings) = parts.outbox {
            let (bus, rules, cluster) = (bus.clone(), rules.clone(), cluster.clone());
            tasks.push(tokio::spawn(republish::watch(settings, bus, rules, cluster, stop.clone())));
        }
        let flow = step::flow(&rules.current(), &cluster);
        let newest = Box::new(move || step::flow(&rules.current(), &cluster));
        let done = Reconcile { history: history.clone(), flow: newest };
        tasks.push(tokio::spawn(reconcile(done, stop.clone())));
        let (history_stopper, stop_history) = channel();
        let history = tokio::spawn(async move { history.write(stop_history).await });
        let running = engine.clone();
        let loop_ = tokio::spawn(async move { running.run(&stop).await });
        Ok(Self {
            bus,
            metrics,
            address,
            origin,
            flow,
            engine,
            backend,
            sending,
            stopper,
            history,
            history_stopper,
            tasks,
            loop_,
        })
    }

    /// Waits for SIGTERM or SIGINT, then stops: running Jobs may finish within the grace time, and other events are
    /// handed back. A second signal ends everything at once.
    pub(super) async fn until_signal(self, grace: Duration) -> Result<()> {
        let cannot = |error: std::io::Error| Error::unavailable("cannot listen for signals").because(error);
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!(
            running = self.engine.running(),
            grace_s = grace.as_secs(),
            "stopping: no more events are taken"
        );
        let backend = self.backend.clone();
        tokio::select! {
            () = self.stop(grace) => {}
            () = async { tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} } } => {
                tracing::warn!("second signal: ending at once");
                backend.abandon();
            }
        }
        Ok(())
    }

    /// Stops in order: first the engine, then what depends on it, then the rest. Takes at most the grace time and 18
    /// seconds, as OPERATIONS.md says.
    pub(super) async fn stop(mut self, grace: Duration) {
        self.stopper.drain();
        if tokio::time::timeout(grace, &mut self.loop_).await.is_err() {
            self.stopper.end();
            if tokio::time::timeout(ENDED_WITHIN, &mut self.loop_).await.is_err() {
                tracing::warn!("not every event could be answered; those come again");
                self.loop_.abort();
            }
        }
        // No more Jobs are reported from here on.
        self.history_stopper.end();
        let spans = async {
            if let Some(sending) = self.sending {
                sending.close(LAST_SPANS_WITHIN).await;
            }
        };
        let bus = tokio::time::timeout(CLOSED_WITHIN, self.bus.close());
        let history = tokio::time::timeout(LAST_WITHIN + Duration::from_secs(1), self.history);
        drop(tokio::join!(spans, bus, history));
        self.stopper.end();
        let tasks = futures_util::future::join_all(self.tasks);
        drop(tokio::time::timeout(TASKS_WITHIN, tasks).await);
    }
}

/// Returns at the next SIGTERM or SIGINT.
pub(super) async fn signalled() -> Result<()> {
    let cannot = |error: std::io::Error| Error::unavailable("cannot listen for signals").because(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}

async fn follow(rules: Rules, origin: Origin, stop: Stop) {
    origin.follow(&rules, &stop).await;
}

async fn reconcile(reconcile: Reconcile, stop: Stop) {
    reconcile.run(&stop).await;
}

async fn tidy(backend: Backend, stop: Stop) {
    backend.tidy(&stop).await;
}

async fn load(origin: &Origin, needs: Needs) -> Result<Rules> {
    let rules = origin.load(needs).await.map_err(|problems| {
        let errors: Vec<_> =
            problems.iter().filter(|one| one.severity == Severity::Error).map(Problem::to_string).collect();
        Error::configuration(format!("the manifests in {origin} are refused:\n  {}", errors.join("\n  ")))
    })?;
    for fault in &rules.current().faults {
        tracing::error!(problem = %fault, "left out: its events wait");
    }
    for warning in &rules.current().warnings {
        tracing::warn!(problem = %warning, "manifest");
    }
    Ok(rules)
}

async fn open_backend(
    choice: BackendChoice,
    bus: &bus::Settings,
    address: SocketAddr,
    tokens: &mut Tokens,
) -> Result<Backend> {
    match choice {
        #[cfg(feature = "docker")]
        BackendChoice::Docker(_) if bus.bus == bus::Kind::Embedded => Err(Error::configuration(
            "containers cannot reach the embedded bus; use --bus jetstream with the docker backend",
        )),
        #[cfg(feature = "docker")]
        BackendChoice::Docker(settings) => Docker::open(settings).map(Backend::Docker),
        #[cfg(feature = "kubernetes")]
        BackendChoice::Kubernetes(settings) => {
            if bus.bus == bus::Kind::Embedded {
                tracing::warn!("Pods cannot reach the embedded bus: only Jobs that publish nothing work");
            }
            Kubernetes::open(settings).await.map(Backend::Kubernetes)
        }
        BackendChoice::Process(mut settings) => {
            if bus.bus == bus::Kind::Embedded {
                // With the embedded bus, workers publish through our own `POST /events`.
                let token = Process::sink_token(&settings.state_dir)?;
                let host = if address.ip().is_unspecified() {
                    "127.0.0.1".to_owned()
                } else {
                    address.ip().to_string()
                };
                let host = if address.is_ipv6() && !address.ip().is_unspecified() {
                    format!("[{host}]")
                } else {
                    host
                };
                settings.sink = Some((format!("http://{host}:{}/events", address.port()), token.clone()));
                tokens.workers = Some(token);
            }
            Process::open(settings).map(Backend::Process)
        }
    }
}
