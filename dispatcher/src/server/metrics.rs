//! `/metrics`: the counts, with what bus and backend say at this moment.

use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::App;
use crate::bus::{Backlog, Bus};

/// A server that hangs must not make the scrape fail with it: Prometheus gives up after 10 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

pub(super) async fn show(State(App(app)): State<App>) -> Response {
    let (bus, backend) = tokio::join!(
        tokio::time::timeout(ANSWER_WITHIN, ask(&app.bus)),
        tokio::time::timeout(ANSWER_WITHIN, app.backend.check()),
    );
    let answer = bus.ok().and_then(crate::bus::Result::ok);
    app.metrics.bus(answer.as_ref().map(|(backlog, stored)| (backlog.as_slice(), *stored)));
    app.metrics.backend(matches!(backend, Ok(Ok(()))));
    app.metrics.manifests_refused(app.rules.state().refused.is_some());
    app.metrics.expect(&app.rules);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response()
}

async fn ask(bus: &Bus) -> crate::bus::Result<(Vec<Backlog>, u64)> {
    tokio::try_join!(bus.backlog(), bus.dead_letter_count())
}
