//! The dispatcher over HTTP: events in, health, metrics, dead letters, and one page.
//!
//! `POST /events` and everything that changes something ask for a token wherever the server is not on loopback.

mod access;
mod dead_letters;
mod events;
mod page;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use shared::error::{Error, Result};
use tokio::net::TcpListener;

use crate::backend::Backend;
use crate::bus::Bus;
use crate::engine::rules::Rules;
use crate::engine::stop::Stop;
use crate::metrics::Metrics;

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
    tokens: Tokens,
}

impl App {
    /// What the handlers work on.
    pub fn new(bus: Bus, backend: Backend, rules: Rules, metrics: Metrics, tokens: Tokens) -> Self {
        Self(Arc::new(Inner { bus, backend, rules, metrics, tokens }))
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
            .route("/", get(page::overview))
            .route("/events", post(events::receive))
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
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
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(ending).await {
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

async fn metrics(State(App(app)): State<App>) -> Response {
    if let Ok(backlog) = app.bus.backlog().await {
        app.metrics.backlog(&backlog);
    }
    app.metrics.manifests_refused(app.rules.state().refused.is_some());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response()
}
