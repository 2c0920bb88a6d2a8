//! The dispatcher over HTTP: events in, health, metrics, dead letters, and pages for people.
//!
//! `POST /events` and everything that changes something ask for a token wherever the server is not on loopback.

mod access;
mod dead_letters;
mod events;
mod metrics;
mod operator;
mod page;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use shared::error::{Error, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::backend::Backend;
use crate::bus::Bus;
use crate::engine::rules::Rules;
use crate::engine::stop::Stop;
use crate::history::History;
use crate::metrics::Metrics;
use crate::plan::{Cluster, Policy};

pub use access::Tokens;
pub(crate) use dead_letters::view;

/// An event with more bytes than this is refused: NATS takes 1 MiB by default.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// Ready means: a fetch had an answer within this time.
const FETCHED_WITHIN: Duration = Duration::from_secs(30);

/// What the handlers see. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bus: Bus,
    backend: Backend,
    rules: Rules,
    metrics: Metrics,
    history: History,
    cluster: Cluster,
    policy: Policy,
    tokens: Tokens,
    stop: Stop,
    /// Logins that are looked at at once.
    logins: Semaphore,
    snapshot: snapshot::Cached,
    /// Places for pages that follow what happens.
    streams: Arc<Semaphore>,
}

/// What the handlers are given.
#[derive(Debug)]
pub struct AppParts {
    /// Events and dead letters.
    pub bus: Bus,
    /// Whether Jobs can be started.
    pub backend: Backend,
    /// The manifests in force.
    pub rules: Rules,
    /// What this process has counted.
    pub metrics: Metrics,
    /// What became of every Job.
    pub history: History,
    /// The cluster that selectors are matched against.
    pub cluster: Cluster,
    /// What a rendered Job may be.
    pub policy: Policy,
    /// Who may do what.
    pub tokens: Tokens,
    /// When to end what would go on for ever.
    pub stop: Stop,
}

impl App {
    /// What the handlers work on.
    pub fn new(parts: AppParts) -> Self {
        let AppParts { bus, backend, rules, metrics, history, cluster, policy, tokens, stop } = parts;
        let streams = Arc::new(Semaphore::new(page::STREAMS));
        let snapshot = snapshot::Cached::default();
        Self(Arc::new(Inner {
            bus,
            backend,
            rules,
            metrics,
            history,
            cluster,
            policy,
            tokens,
            stop,
            logins: Semaphore::new(4),
            snapshot,
            streams,
        }))
    }

    /// Every path.
    pub fn router(self) -> Router {
        let administration = Router::new()
            .route("/api/dead-letters", get(dead_letters::list))
            .route("/api/dead-letters/{number}", get(dead_letters::show).delete(dead_letters::discard))
            .route("/api/dead-letters/{number}/replay", post(dead_letters::replay))
            .route_layer(from_fn_with_state(self.clone(), dead_letters::guard));
        Router::new()
            .merge(administration)
            .merge(page::router())
            .route("/events", post(events::receive))
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics::show))
            .layer(DefaultBodyLimit::max(MAX_EVENT_BYTES))
            .with_state(self)
    }
}

/// Opens the port.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("cannot listen on {address}; choose another with --listen");
        Error::configuration(message).because(error)
    })
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, router: Router, stop: Stop) {
    let ending = async move { stop.ending().await };
    if let Err(error) = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(ending)
        .await
    {
        tracing::error!(error = %error, "the HTTP server ended");
    }
}

/// Ready: the bus answers and the backend answers. What is wrong is said either way.
async fn ready(State(App(app)): State<App>) -> Response {
    let health = app.bus.check(FETCHED_WITHIN).await;
    let mut problems = Vec::new();
    problems.extend(health.problem.map(|problem| format!("bus: {problem}")));
    if let Err(error) = app.backend.check().await {
        problems.push(format!("backend {}: {error}", app.backend.name()));
    }
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut lines = if problems.is_empty() { vec!["ready".to_owned()] } else { problems };
    lines.extend(
        app.rules.state().refused.map(|why| format!("manifests refused, those before in force: {why}")),
    );
    (status, lines.join("\n") + "\n").into_response()
}
