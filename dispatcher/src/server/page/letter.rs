//! `/dead-letters/NUMBER`: one dead letter, whole.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::{Frame, Section, away, html, problem};
use crate::server::App;
use crate::server::format;
use bus::DeadLetter;

/// How many bytes of an event are shown.
const SHOWN: usize = 64 << 10;

#[derive(Template)]
#[template(path = "letter.html")]
struct LetterPage {
    frame: Frame,
    letter: DeadLetter,
    event: String,
    cut: bool,
}

pub(super) async fn show(State(app): State<App>, Path(number): Path<u64>, headers: HeaderMap) -> Response {
    match app.0.bus.dead_letter_by_number(number).await {
        Ok(Some(letter)) => {
            let event = readable(&letter.payload);
            let cut = event.len() > SHOWN;
            let event = format::cut(&event, SHOWN);
            let frame = Frame::new(&app, &headers, Section::DeadLetters).await;
            html(StatusCode::OK, &LetterPage { frame, letter, event, cut })
        }
        Ok(None) => {
            let words = "There is no dead letter of this number: it was replayed or dropped.";
            problem(&app, &headers, StatusCode::NOT_FOUND, "No such dead letter", words).await
        }
        Err(error) => away(&app, &headers, &error).await,
    }
}

/// JSON is indented, other text is unchanged, and bytes that are not text are escaped.
fn readable(payload: &[u8]) -> String {
    match serde_json::from_slice::<serde_json::Value>(payload) {
        Ok(value) => format!("{value:#}"),
        Err(_) => payload.escape_ascii().to_string().replace("\\n", "\n").replace("\\\"", "\""),
    }
}
