//! `/customers/ID`: one customer, with every step in a timeline.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::timeline::{Entry, entries};
use super::{Frame, Section, away, format, live, problem};
use crate::onboarding::CustomerState;
use crate::server::App;

/// The most runs on one page: more than any flow has.
const RUNS: usize = 200;

#[derive(Template)]
#[template(path = "customer.html")]
struct CustomerPage {
    frame: Frame,
    customer: CustomerState,
    entries: Vec<Entry>,
    cut: bool,
    now: DateTime<Utc>,
}

pub(super) async fn show(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    live::answer(&app, &headers, move |app, headers| {
        let id = id.clone();
        async move { customer(&app, &headers, &id).await }
    })
    .await
}

async fn customer(app: &App, headers: &HeaderMap, id: &str) -> Result<CustomerPage, Response> {
    let asked = async { tokio::try_join!(app.0.customers.one(id), app.0.history.runs_of(id, RUNS)) };
    let (customer, runs) = match asked.await {
        Ok((Some(customer), runs)) => (customer, runs),
        Ok((None, _)) => {
            let words = "Neither the database nor the history knows a customer of this id. One that has just registered appears when its first Job starts.";
            return Err(problem(app, headers, StatusCode::NOT_FOUND, "No such customer", words).await);
        }
        Err(error) => return Err(away(app, headers, &error).await),
    };
    let now = Utc::now();
    let cut = runs.len() == RUNS;
    let flow = &app.snapshot().await.flow;
    let ended = customer.stage.is_end();
    Ok(CustomerPage {
        frame: Frame::new(app, headers, Section::Customers).await,
        entries: entries(runs, flow, ended, now),
        cut,
        customer,
        now,
    })
}
