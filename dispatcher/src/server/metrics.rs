//! `/metrics`: the metrics, including the present state of bus, backend and history.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::App;
use crate::onboarding::step;
use crate::onboarding::{Stage, Stages};
use crate::step_counts;
use bus::{Backlog, Bus};
use telemetry::metrics::Waiting;

/// A server that hangs must not make the whole scrape fail: Prometheus gives up after 10 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

pub(super) async fn show(State(App(app)): State<App>) -> Response {
    let (bus, backend, totals, stages) = tokio::join!(
        tokio::time::timeout(ANSWER_WITHIN, ask(&app.bus)),
        tokio::time::timeout(ANSWER_WITHIN, app.backend.check()),
        tokio::time::timeout(ANSWER_WITHIN, app.history.totals()),
        tokio::time::timeout(ANSWER_WITHIN, app.customers.stages()),
    );
    let bus = bus.ok().and_then(bus::Result::ok);
    let totals = totals.ok().and_then(shared::error::Result::ok);
    let stages = stages.ok().and_then(shared::error::Result::ok);
    let (backlog, dead) = bus.clone().unwrap_or_default();
    let flow = step::flow(&app.rules.current(), &app.cluster);
    let steps = step_counts::steps(&flow, &backlog, &totals.clone().unwrap_or_default(), &dead);
    let known: Vec<_> = step_counts::known(&steps, bus.is_some(), totals.is_some()).collect();
    let text = app.metrics.told(|metrics| {
        metrics.bus(bus.as_ref().map(|(backlog, dead)| (backlog.iter().map(waiting), dead.values().sum())));
        metrics.set_flow_counts(known, by_name(stages));
        metrics.backend(matches!(backend, Ok(Ok(()))));
        let up = totals.is_some() && stages.is_some() && app.history.problem().is_none();
        metrics.history(up, app.history.delay(), app.history.dropped(), app.history.ahead());
        metrics.manifests_refused(app.rules.state().refused.is_some());
        metrics.parked(&app.parked.counts());
        metrics.expect(app.rules.subjects(), app.rules.triggers());
    });
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn waiting(one: &Backlog) -> Waiting<'_> {
    Waiting { subject: &one.subject, waiting: one.waiting, in_flight: one.in_flight }
}

fn by_name(stages: Option<Stages>) -> impl Iterator<Item = (&'static str, u64)> {
    stages.into_iter().flat_map(|stages| Stage::ALL.map(|stage| (stage.as_str(), stages.count(stage))))
}

async fn ask(bus: &Bus) -> bus::Result<(Vec<Backlog>, BTreeMap<String, u64>)> {
    tokio::try_join!(bus.backlog(), bus.dead_letter_counts())
}
