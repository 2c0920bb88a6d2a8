//! `/customers/ID`: one customer, every step as a timeline.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::timeline::{Entry, entries};
use super::{Frame, Place, away, format, live, problem, refuse_foreign_name};
use crate::history::CustomerState;
use crate::server::App;

/// Runs on one page: more than any flow makes.
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
    if let Some(refused) = refuse_foreign_name(&app, &headers) {
        return refused;
    }
    live::answer(&app, &headers, move |app, headers| {
        let id = id.clone();
        async move { customer(&app, &headers, &id).await }
    })
    .await
}

async fn customer(app: &App, headers: &HeaderMap, id: &str) -> Result<CustomerPage, Response> {
    let history = &app.0.history;
    let (customer, runs) = match tokio::try_join!(history.customer(id), history.runs_of(id, RUNS)) {
        Ok((Some(customer), runs)) => (customer, runs),
        Ok((None, _)) => {
            let words = "The history knows no customer of this id. One that has just registered appears when its first Job starts.";
            return Err(problem(app, headers, StatusCode::NOT_FOUND, "No such customer", words).await);
        }
        Err(error) => return Err(away(app, headers, &error).await),
    };
    let now = Utc::now();
    let cut = runs.len() == RUNS;
    let flow = &app.snapshot().await.flow;
    let ended = customer.stage.is_end();
    Ok(CustomerPage {
        frame: Frame::new(app, headers, Place::Customers).await,
        entries: entries(runs, flow, ended, now),
        cut,
        customer,
        now,
    })
}
