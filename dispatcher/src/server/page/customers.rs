//! `/customers`: all customers, stuck ones first, with search and pages.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Frame, Section, away, form, live};
use crate::onboarding::{Cursor, CustomerState, Stage, Wanted};
use crate::server::App;
use crate::server::format;

/// Customers on one page.
const PAGE: usize = 50;

#[derive(Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    stage: String,
    #[serde(default)]
    after: String,
}

#[derive(Template)]
#[template(path = "customers.html")]
struct Customers {
    frame: Frame,
    asked: Asked,
    stages: Vec<Choice>,
    list: Vec<CustomerState>,
    next: Option<String>,
    now: DateTime<Utc>,
}

/// A stage to choose, with its number of customers.
struct Choice {
    name: &'static str,
    address: String,
    count: String,
    chosen: bool,
}

/// The name of a stage, coloured by its tone.
pub(super) const fn tone(stage: Stage) -> &'static str {
    match stage {
        Stage::Stuck => "bad",
        Stage::Retrying => "warn",
        Stage::UnderWay => "busy",
        Stage::Onboarded => "good",
        Stage::GivenUp => "zero",
    }
}

pub(super) async fn show(State(app): State<App>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    live::answer(&app, &headers, move |app, headers| {
        let asked = asked.clone();
        async move { customers(&app, &headers, asked).await }
    })
    .await
}

async fn customers(app: &App, headers: &HeaderMap, asked: Asked) -> Result<Customers, Response> {
    let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == asked.stage);
    let after = asked.after.parse::<Cursor>().ok();
    let wanted = Wanted { stage, text: asked.q.clone(), after, limit: PAGE + 1 };
    let frame = Frame::new(app, headers, Section::Customers).await;
    let mut list = match app.0.customers.list(&wanted).await {
        Ok(list) => list,
        Err(error) => return Err(away(app, headers, &error).await),
    };
    let more = list.len() > PAGE;
    list.truncate(PAGE);
    let next = list.last().filter(|_| more).map(|(_, last)| frame.text(&last.to_string()).into_owned());
    let mut list: Vec<CustomerState> = list.into_iter().map(|(state, _)| state).collect();
    // The number of results must not reveal what is masked.
    let text = wanted.text.trim().to_lowercase();
    list.retain(|one| {
        [&one.name, &one.id].iter().any(|shown| frame.text(shown).to_lowercase().contains(&text))
    });
    let stages = app.snapshot().await.stages;
    let choice = |stage: Option<Stage>| {
        let name = stage.map_or("all", Stage::as_str);
        let count = match stage {
            Some(stage) => stages.count(stage),
            None => Stage::ALL.iter().map(|stage| stages.count(*stage)).sum(),
        };
        Choice {
            name,
            address: format!(
                "/customers{}",
                form::query(&[("q", &asked.q), ("stage", stage.map_or("", Stage::as_str))])
            ),
            count: format::number(count),
            chosen: stage.map_or("", Stage::as_str) == asked.stage,
        }
    };
    Ok(Customers {
        frame,
        stages: [None].into_iter().chain(Stage::ALL.map(Some)).map(choice).collect(),
        next: next.map(|after| {
            format!(
                "/customers{}",
                form::query(&[("q", &asked.q), ("stage", &asked.stage), ("after", &after)])
            )
        }),
        list,
        now: Utc::now(),
        asked,
    })
}
