//! A dispatcher put together from its parts: bus, backend, rules, engine, server. `run` and `demo` both use it.

use std::net::SocketAddr;
use std::time::Duration;

use shared::error::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::bus_access::failed;
use crate::backend::{Backend, Docker, Kubernetes, Process, docker, kubernetes, process};
use crate::bus::{Access, Bus};
use crate::engine::rules::Rules;
use crate::engine::stop::{Stop, Stopper, channel};
use crate::engine::{Engine, Settings};
use crate::history::{History, LAST_WITHIN};
use crate::manifest::{Problem, Severity};
use crate::metrics::Metrics;
use crate::observer::{Observer, Watcher};
use crate::origin::Origin;
use crate::plan::Cluster;
use crate::server::{self, App, AppParts, Tokens};
use crate::traces::{self, Sending, Traces};

/// How long Jobs that were told to end and the answers to their events may take; what is not answered by then comes again.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// How long the goodbye to the bus may take.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// How long server, watchers and the like may take to end.
const TASKS_WITHIN: Duration = Duration::from_secs(2);

/// How long a stop may take longer because a collector is slow.
const LAST_SPANS_WITHIN: Duration = Duration::from_secs(5);

/// Which backend, with what it needs.
pub(super) enum BackendChoice {
    /// Child processes.
    Process(process::Settings),
    /// Containers.
    Docker(docker::Settings),
    /// Jobs of a cluster.
    Kubernetes(kubernetes::Settings),
}

/// What a service is made of.
pub(super) struct Parts {
    pub(super) origin: Origin,
    pub(super) bus: crate::bus::Settings,
    pub(super) backend: BackendChoice,
    pub(super) engine: Settings,
    pub(super) listen: SocketAddr,
    pub(super) tokens: Tokens,
    pub(super) history: History,
    pub(super) traces: Option<traces::Settings>,
}

/// A service that runs.
pub(super) struct Service {
    pub(super) bus: Bus,
    pub(super) metrics: Metrics,
    pub(super) address: SocketAddr,
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
    /// Starts everything; what is configured wrong is said before anything runs.
    pub(super) async fn start(parts: Parts) -> Result<Self> {
        let rules = load(&parts.origin).await?;
        let listener = server::listen(parts.listen).await?;
        let address =
            listener.local_addr().map_err(|error| Error::bug("the port has no address").because(error))?;
        let mut tokens = parts.tokens;
        tokens.loopback = address.ip().is_loopback();
        let backend = open_backend(parts.backend, &parts.bus, address, &mut tokens).await?;
        // Last, because it waits for its server: what is configured wrong is said before.
        let bus = Bus::open(&parts.bus, Access::Consume).await.map_err(failed)?;
        // Before anybody can publish: what the bus does not keep yet it refuses.
        bus.ensure_subjects(&rules.subjects()).await.map_err(failed)?;
        let metrics = Metrics::default();
        metrics.build(bus.name(), backend.name());
        metrics.jobs_limit(parts.engine.max_running);
        metrics.expect(&rules);
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
            history: history.clone(),
            cluster: cluster.clone(),
            policy,
            tokens,
            stop: stop.clone(),
        });
        let tasks = vec![
            tokio::spawn(server::serve(listener, app.router(), stop.clone())),
            tokio::spawn(follow(rules.clone(), parts.origin, stop.clone())),
            tokio::spawn(tidy(backend.clone(), stop.clone())),
        ];
        let (history_stopper, stop_history) = channel();
        let history = tokio::spawn(write(history, rules, cluster, stop_history));
        let running = engine.clone();
        let loop_ = tokio::spawn(async move { running.run(&stop).await });
        Ok(Self {
            bus,
            metrics,
            address,
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

    /// Waits for SIGTERM or SIGINT, then stops: running Jobs may finish within the grace time, the rest is handed back.
    /// A second signal ends at once.
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

    /// Stops in order: engine, then what hangs on it, then the rest. At most the grace time and 18 seconds: OPERATIONS.md says so.
    pub(super) async fn stop(mut self, grace: Duration) {
        self.stopper.drain();
        if tokio::time::timeout(grace, &mut self.loop_).await.is_err() {
            self.stopper.end();
            if tokio::time::timeout(ENDED_WITHIN, &mut self.loop_).await.is_err() {
                tracing::warn!("not every event could be answered; those come again");
                self.loop_.abort();
            }
        }
        // Nobody tells of Jobs any more.
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

async fn write(history: History, rules: Rules, cluster: Cluster, stop: Stop) {
    history.write(rules, cluster, stop).await;
}

async fn tidy(backend: Backend, stop: Stop) {
    backend.tidy(&stop).await;
}

async fn load(origin: &Origin) -> Result<Rules> {
    let rules = origin.load().await.map_err(|problems| {
        let errors: Vec<_> =
            problems.iter().filter(|one| one.severity == Severity::Error).map(Problem::to_string).collect();
        Error::configuration(format!("the manifests in {origin} are refused:\n  {}", errors.join("\n  ")))
    })?;
    for warning in &rules.current().warnings {
        tracing::warn!(problem = %warning, "manifest");
    }
    Ok(rules)
}

async fn open_backend(
    choice: BackendChoice,
    bus: &crate::bus::Settings,
    address: SocketAddr,
    tokens: &mut Tokens,
) -> Result<Backend> {
    match choice {
        BackendChoice::Docker(_) if bus.bus == crate::bus::Kind::Embedded => Err(Error::configuration(
            "containers cannot reach the embedded bus; use --bus jetstream with the docker backend",
        )),
        BackendChoice::Docker(settings) => Docker::open(settings).map(Backend::Docker),
        BackendChoice::Kubernetes(settings) => {
            if bus.bus == crate::bus::Kind::Embedded {
                tracing::warn!("Pods cannot reach the embedded bus: only Jobs that publish nothing work");
            }
            Kubernetes::open(settings).await.map(Backend::Kubernetes)
        }
        BackendChoice::Process(mut settings) => {
            if bus.bus == crate::bus::Kind::Embedded {
                // Workers reach the embedded bus through our own POST /events.
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
