//! The API server's answers.

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::serve::Target;

/// A piece of an answer, or the cut that ends it.
pub(super) type Piece = Result<Bytes, std::io::Error>;

/// An object.
pub(super) fn object(code: u16, object: &Value) -> Response {
    (StatusCode::from_u16(code).expect("a status code"), axum::Json(object)).into_response()
}

/// There is no such object.
pub(super) fn missing(target: &Target) -> Response {
    failure(404, "NotFound", &format!("{} \"{}\" not found", target.plural, target.name))
}

/// The object is not in the state that the call requires.
pub(super) fn changed(target: &Target) -> Response {
    let message = format!(
        "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes to the latest \
         version and try again",
        target.plural, target.name
    );
    failure(409, "Conflict", &message)
}

/// A `Status` object.
pub(super) fn failure(code: u16, reason: &str, message: &str) -> Response {
    object(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code}),
    )
}

/// Announces more bytes than it sends.
pub(super) fn cut() -> Response {
    let (pieces, received) = mpsc::channel(2);
    let _ = pieces.try_send(Ok(Bytes::from_static(b"{\"kind\": ")));
    let _ = pieces.try_send(Err(std::io::Error::other("cut")));
    ([("content-length", "500"), ("content-type", "application/json")], stream(received)).into_response()
}

/// An answer in pieces.
pub(super) fn stream(pieces: mpsc::Receiver<Piece>) -> Body {
    Body::from_stream(futures_util::stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    }))
}
