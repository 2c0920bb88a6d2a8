//! Dead letters over HTTP, for the commands and for people with the admin token.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::operator::{act, operator};
use crate::bus::{DeadLetter, Filter};
use crate::operator::{Operator, Verb};

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

/// Letters in one answer: each may hold an event of a mebibyte.
const MOST: usize = 25;

const fn most() -> usize {
    MOST
}

/// Lets through only who may administer; stands before every path of this module.
pub(super) async fn guard(State(App(app)): State<App>, request: Request, next: Next) -> Response {
    match app.tokens.may_administer(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => *refused,
    }
}

pub(super) async fn list(State(App(app)): State<App>, Query(wanted): Query<Wanted>) -> Response {
    let Wanted { subject, customer, reason, after, limit } = wanted;
    let filter = Filter { subject, customer, reason, after, limit: limit.min(MOST), ..Filter::default() };
    match app.bus.dead_letters(&filter).await {
        Ok(page) => {
            let letters: Vec<_> = page.letters.iter().map(view).collect();
            Json(json!({ "dead_letters": letters, "next": page.next })).into_response()
        }
        Err(error) => away(&error),
    }
}

pub(super) async fn show(State(App(app)): State<App>, Path(number): Path<u64>) -> Response {
    match app.bus.dead_letter_by_number(number).await {
        Ok(Some(letter)) => Json(view(&letter)).into_response(),
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

/// Clients of the API may say on whose behalf they act.
fn sender(request: &Request) -> Operator {
    let name = request.headers().get("x-operator").and_then(|name| name.to_str().ok());
    operator(name.unwrap_or("API"), request.extensions())
}

/// A dead letter for people and machines: its facts, and its bytes as text or base64.
pub(crate) fn view(letter: &DeadLetter) -> Value {
    use base64::Engine;
    let mut view = json!({
        "number": letter.number,
        "subject": letter.subject,
        "class": letter.info.class,
        "reason": letter.info.reason,
        "message": letter.info.message,
        "triggers": letter.info.triggers,
        "customer": letter.info.customer,
        "event_id": letter.info.event_id,
        "attempts": letter.attempts,
        "replay": letter.replay,
        "sequence": letter.sequence,
        "published_at": letter.published_at,
        "failed_at": letter.failed_at,
        "headers": letter.headers,
    });
    match std::str::from_utf8(&letter.payload) {
        Ok(text) => view["payload"] = json!(text),
        Err(_) => view["payload_base64"] = json!(base64::prelude::BASE64_STANDARD.encode(&letter.payload)),
    }
    view
}

fn none(number: u64) -> Response {
    (StatusCode::NOT_FOUND, format!("there is no dead letter {number}\n")).into_response()
}

fn away(error: &crate::bus::Error) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
}
