//! `/metrics`: the counts, with what bus, backend and history say at this moment.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::App;
use crate::bus::{Backlog, Bus};
use crate::flow::Flow;
use crate::standing;

/// A server that hangs must not make the scrape fail with it: Prometheus gives up after 10 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

pub(super) async fn show(State(App(app)): State<App>) -> Response {
    let (bus, backend, totals) = tokio::join!(
        tokio::time::timeout(ANSWER_WITHIN, ask(&app.bus)),
        tokio::time::timeout(ANSWER_WITHIN, app.backend.check()),
        tokio::time::timeout(ANSWER_WITHIN, app.history.totals()),
    );
    let bus = bus.ok().and_then(crate::bus::Result::ok);
    let totals = totals.ok().and_then(shared::error::Result::ok);
    let (backlog, dead) = bus.clone().unwrap_or_default();
    let flow = Flow::of(&app.rules.current(), &app.cluster);
    let steps = standing::steps(&flow, &backlog, &totals.clone().unwrap_or_default(), &dead);
    let text = app.metrics.told(|metrics| {
        metrics.bus(bus.as_ref().map(|(backlog, dead)| (backlog.as_slice(), dead.values().sum())));
        metrics.standing(&steps, bus.is_some(), totals.as_ref());
        metrics.backend(matches!(backend, Ok(Ok(()))));
        metrics.history(totals.is_some() && app.history.problem().is_none(), app.history.dropped());
        metrics.manifests_refused(app.rules.state().refused.is_some());
        metrics.expect(&app.rules);
    });
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn ask(bus: &Bus) -> crate::bus::Result<(Vec<Backlog>, BTreeMap<String, u64>)> {
    tokio::try_join!(bus.backlog(), bus.dead_letter_counts())
}
