//! `/`: the flow as a picture, customers that need attention, and the health of all parts.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::Utc;

use super::customers::tone;
use super::picture::{NARROW, Picture, WIDE};
use super::{Frame, Section, live};
use crate::onboarding::{CustomerState, Stage, Wanted};
use crate::server::App;
use crate::server::format;
use crate::server::snapshot::Snapshot;

/// The most customers that need attention on this page.
const SHOWN: usize = 6;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    snapshot: Arc<Snapshot>,
    pictures: [Picture; 2],
    attention: Vec<CustomerState>,
    now: chrono::DateTime<Utc>,
}

impl Overview {
    fn stages(&self) -> [(Stage, &'static str, String); 5] {
        Stage::ALL.map(|stage| {
            let count = self.snapshot.stages.count(stage);
            let tone = match stage {
                _ if count == 0 => "zero",
                stage => tone(stage),
            };
            (stage, tone, format::number(count))
        })
    }
}

pub(super) async fn show(State(app): State<App>, headers: HeaderMap) -> Response {
    live::answer(
        &app,
        &headers,
        |app, headers| async move { Ok::<_, Response>(overview(&app, &headers).await) },
    )
    .await
}

async fn overview(app: &App, headers: &HeaderMap) -> Overview {
    let snapshot = app.snapshot().await;
    let wanted = Wanted { limit: SHOWN, ..Wanted::default() };
    let first = app.0.customers.list(&wanted).await.unwrap_or_default();
    let troubled = first
        .into_iter()
        .map(|(one, _)| one)
        .filter(|one| matches!(one.stage, Stage::Stuck | Stage::Retrying));
    Overview {
        frame: Frame::new(app, headers, Section::Flow).await,
        pictures: [
            Picture::new("wide", &snapshot.flow, &snapshot.steps, WIDE),
            Picture::new("narrow", &snapshot.flow, &snapshot.steps, NARROW),
        ],
        attention: troubled.collect(),
        snapshot,
        now: Utc::now(),
    }
}
