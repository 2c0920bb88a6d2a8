//! `/`: the flow as a picture, who needs attention, and how the parts are.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::Utc;

use super::customers::tone;
use super::picture::{NARROW, Picture, WIDE};
use super::{Frame, Place, format, live, refuse_foreign_name};
use crate::history::{CustomerState, Stage, Wanted};
use crate::server::App;
use crate::server::snapshot::Snapshot;

/// Customers shown that need attention.
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
            let count = self.snapshot.totals.customers(stage);
            let tone = match stage {
                _ if count == 0 => "zero",
                stage => tone(stage),
            };
            (stage, tone, format::number(count))
        })
    }
}

pub(super) async fn show(State(app): State<App>, headers: HeaderMap) -> Response {
    if let Some(refused) = refuse_foreign_name(&app, &headers) {
        return refused;
    }
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
    let first = app.0.history.customers(&wanted).await.unwrap_or_default();
    let troubled = first.into_iter().filter(|one| matches!(one.stage, Stage::Stuck | Stage::Retrying));
    Overview {
        frame: Frame::new(app, headers, Place::Flow).await,
        pictures: [
            Picture::new("wide", &snapshot.flow, &snapshot.steps, WIDE),
            Picture::new("narrow", &snapshot.flow, &snapshot.steps, NARROW),
        ],
        attention: troubled.collect(),
        snapshot,
        now: Utc::now(),
    }
}
