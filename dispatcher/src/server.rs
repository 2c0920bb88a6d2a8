//! The dispatcher over HTTP: events in, health, metrics, dead letters, and pages for people.
//!
//! `POST /events`, and every request that changes something, needs a token if the server can be reached from other
//! machines.

mod access;
mod body;
mod connection;
mod dead_letters;
mod events;
mod format;
mod metrics;
mod operator;
mod page;
mod page_slots;
mod session;
mod snapshot;
mod step;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use shared::error::{Error, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::engine::parked::Parked;
use crate::manifest_source::Rules;
use crate::metrics::Metrics;
use crate::onboarding::Customers;
use crate::plan::{Cluster, Policy};
use backend::Backend;
use bus::Bus;
use history::History;
use job::stop::Stop;

pub use access::Tokens;
pub use connection::{serve, serve_one};

/// The dispatcher is ready if a fetch was answered within this time.
const FETCHED_WITHIN: Duration = Duration::from_secs(30);

/// The state of the handlers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bus: Bus,
    backend: Backend,
    rules: Rules,
    metrics: Metrics,
    parked: Parked,
    history: History,
    customers: Customers,
    cluster: Cluster,
    policy: Policy,
    tokens: Tokens,
    stop: Stop,
    sessions: session::Sessions,
    /// Turns for answering requests with a wrong token.
    wrong_tokens: Semaphore,
    bodies: body::Room,
    page_slots: page_slots::PageSlots,
    snapshot: snapshot::Cached,
}

/// The parts that the handlers use.
#[derive(Debug)]
pub struct AppParts {
    /// Events and dead letters.
    pub bus: Bus,
    /// Whether Jobs can be started.
    pub backend: Backend,
    /// The manifests in force.
    pub rules: Rules,
    /// The metrics of this process.
    pub metrics: Metrics,
    /// Events that wait for a trigger.
    pub parked: Parked,
    /// The runs of all Jobs.
    pub history: History,
    /// The cluster that selectors are matched against.
    pub cluster: Cluster,
    /// What a rendered Job may contain.
    pub policy: Policy,
    /// Who is allowed to do what.
    pub tokens: Tokens,
    /// Tells endless answers when to end.
    pub stop: Stop,
}

impl Inner {
    /// Why no event can start a Job; `None` if one can.
    fn idle(&self) -> Option<String> {
        self.rules.idle(&self.cluster)
    }
}

impl App {
    /// The state, as the handlers see it.
    pub fn new(parts: AppParts) -> Self {
        let AppParts { bus, backend, rules, metrics, parked, history, cluster, policy, tokens, stop } = parts;
        let sessions = session::Sessions::new(tokens.admin.as_ref(), &history);
        Self(Arc::new(Inner {
            bus,
            backend,
            rules,
            metrics,
            parked,
            customers: Customers::new(history.clone()),
            history,
            cluster,
            policy,
            tokens,
            stop,
            sessions,
            wrong_tokens: Semaphore::new(access::WRONG_AT_ONCE),
            bodies: body::Room::default(),
            page_slots: page_slots::PageSlots::default(),
            snapshot: snapshot::Cached::default(),
        }))
    }

    /// The routes.
    pub fn router(self) -> Router {
        let administration = Router::new()
            .route("/api/dead-letters", get(dead_letters::list))
            .route("/api/dead-letters/{number}", get(dead_letters::show).delete(dead_letters::discard))
            .route("/api/dead-letters/{number}/replay", post(dead_letters::replay))
            .route_layer(from_fn_with_state(self.clone(), dead_letters::guard));
        let events = Router::new()
            .route("/events", post(events::receive).options(events::handshake))
            .route_layer(from_fn_with_state(self.clone(), events::guard));
        Router::new()
            .merge(administration)
            .merge(events)
            .merge(page::router(&self))
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics::show))
            .layer(from_fn_with_state(self.clone(), access::refuse_foreign_name))
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

/// Ready if the bus and the backend answer. The answer always says what is wrong.
async fn ready(State(App(app)): State<App>) -> Response {
    let health = app.bus.check(FETCHED_WITHIN).await;
    let mut problems = Vec::new();
    problems.extend(health.problem.map(|problem| format!("bus: {problem}")));
    if let Err(error) = app.backend.check().await {
        problems.push(format!("backend {}: {error}", app.backend.name()));
    }
    problems.extend(app.idle());
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut lines = if problems.is_empty() { vec!["ready".to_owned()] } else { problems };
    lines.extend(app.rules.state().refused.map(|why| format!("manifests refused, in part or whole: {why}")));
    lines.extend(app.parked.words());
    lines.extend(app.history.problem().map(|problem| format!("history late, Jobs run on: {problem}")));
    (status, lines.join("\n") + "\n").into_response()
}
