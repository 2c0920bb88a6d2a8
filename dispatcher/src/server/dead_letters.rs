//! Dead letters over HTTP, for the commands and for operators with the admin token.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::visible;

use super::App;
use super::operator::{act, operator};
use crate::dead_letter_action::{Operator, Verb};
use bus::{DeadLetter, Filter};

#[derive(Deserialize)]
pub(super) struct Wanted {
    subject: Option<String>,
    customer: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    after: u64,
    #[serde(default = "most")]
    limit: usize,
}

/// The most letters in one answer; each may contain an event of a mebibyte.
const MOST: usize = 25;

const fn most() -> usize {
    MOST
}

/// Only admits operators; it runs before every handler of this module.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    match app.0.tokens.may_administer(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => app.refused(refusal, request.extensions(), request.uri().path()).await,
    }
}

pub(super) async fn list(State(App(app)): State<App>, Query(wanted): Query<Wanted>) -> Response {
    let Wanted { subject, customer, reason, after, limit } = wanted;
    let filter =
        Filter { subject, flow: customer, reason, after, limit: limit.min(MOST), ..Filter::default() };
    match app.bus.dead_letters(&filter).await {
        Ok(page) => {
            let letters: Vec<_> = page.letters.iter().map(DeadLetter::view).collect();
            visible_json(&json!({ "dead_letters": letters, "next": page.next }))
        }
        Err(error) => away(&error),
    }
}

/// Somebody may print it on a terminal, which event data must not steer.
fn visible_json(value: &Value) -> Response {
    let body = visible::json(&value.to_string()).into_owned();
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

pub(super) async fn show(State(App(app)): State<App>, Path(number): Path<u64>) -> Response {
    match app.bus.dead_letter_by_number(number).await {
        Ok(Some(letter)) => visible_json(&letter.view()),
        Ok(None) => none(number),
        Err(error) => away(&error),
    }
}

pub(super) async fn replay(State(app): State<App>, Path(number): Path<u64>, request: Request) -> Response {
    match act(&app, sender(&request), Verb::Replay, number).await {
        Ok(Some(sequence)) => Json(json!({ "replayed": number, "sequence": sequence })).into_response(),
        Ok(None) => none(number),
        Err(error) => away(&error),
    }
}

pub(super) async fn discard(State(app): State<App>, Path(number): Path<u64>, request: Request) -> Response {
    match act(&app, sender(&request), Verb::Drop, number).await {
        Ok(Some(_)) => StatusCode::NO_CONTENT.into_response(),
        Ok(None) => none(number),
        Err(error) => away(&error),
    }
}

/// Clients of the API may name the person they act for.
fn sender(request: &Request) -> Operator {
    let name = request.headers().get("x-operator").and_then(|name| name.to_str().ok());
    operator(name.unwrap_or("API"), request.extensions())
}

fn none(number: u64) -> Response {
    (StatusCode::NOT_FOUND, format!("there is no dead letter {number}\n")).into_response()
}

fn away(error: &bus::Error) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
}
