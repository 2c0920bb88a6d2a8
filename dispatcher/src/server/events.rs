//! `POST /events`: CloudEvents over HTTP, structured and binary, answered once the event is durable.
//!
//! The NATS subject is that of the event's type, or the one in the query: `POST /events?subject=NAME`.
//! `OPTIONS /events` answers the handshake of the CloudEvents webhook specification, without which some senders never post.

use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cloudevents::AttributesReader;
use serde::Deserialize;
use shared::event::{CONTENT_TYPE, Kind, derive_id, parse, to_json};
use shared::visible;

use super::App;
use crate::size;
use bus::{LARGEST_PLANNED, Message};

#[derive(Deserialize)]
pub(super) struct Target {
    subject: Option<String>,
}

/// Only admits clients that may publish, and then reads the body.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    if let Err(refusal) = app.0.tokens.may_publish(request.headers()) {
        return app.refused(refusal, request.extensions(), "/events").await;
    }
    match app.0.bodies.read(request, LARGEST_PLANNED).await {
        Ok((request, _room)) => next.run(request).await,
        Err(refused) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("the event is too large: {}\n", size::limit()))
                .into_response()
        }
        Err(refused) => refused,
    }
}

pub(super) async fn receive(
    State(App(app)): State<App>,
    Query(target): Query<Target>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let pairs = match readable(&headers) {
        Ok(pairs) => pairs,
        Err(refusal) => return (StatusCode::BAD_REQUEST, refusal).into_response(),
    };
    let event = match parse(&pairs, &body) {
        Ok(event) => event,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let of_type = || Kind::from_type(event.ty()).map(|kind| kind.subject().to_owned());
    let Some(subject) = target.subject.or_else(of_type) else {
        let text =
            "the type is not one of the onboarding flow: name a NATS subject, POST /events?subject=NAME\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    if !app.rules.subjects().contains(&subject) {
        let text = format!("{subject:?} is no subject of the flow, and no manifest names it\n");
        return (StatusCode::BAD_REQUEST, visible::lines(&text).into_owned()).into_response();
    }
    let payload = match to_json(&event) {
        Ok(payload) => payload,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    if let Err(error) = size::check(&event, &payload) {
        return (StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")).into_response();
    }
    // In CloudEvents, source and id together identify an event, so a second post of it changes nothing.
    let id = derive_id(&format!("{}\n{}\n{subject}", event.source(), event.id())).to_string();
    let message = Message {
        subject,
        id: Some(id),
        headers: vec![("Content-Type".to_owned(), CONTENT_TYPE.to_owned())],
        payload: payload.into(),
    };
    // The parsed event is many times larger than its bytes, so drop it before waiting for the bus.
    drop(event);
    match app.bus.publish(message).await {
        Ok(_) => StatusCode::ACCEPTED.into_response(),
        Err(error) if error.try_again() => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not taken, try again: {error}\n")).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// The headers as text. Attributes may be UTF-8, although HTTP only promises ASCII; headers that say nothing about the
/// event are not read if they are in another encoding.
fn readable(headers: &HeaderMap) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => pairs.push((name.to_string(), text.to_owned())),
            Err(_) if name.as_str().starts_with("ce-") || *name == header::CONTENT_TYPE => {
                return Err(format!(
                    "the header {name} is not UTF-8: write it in UTF-8 or percent-encode it\n"
                ));
            }
            Err(_) => {}
        }
    }
    Ok(pairs)
}

/// The handshake before the first post (HTTP 1.1 Web Hooks for Event Delivery, section 4). It needs no token, because
/// it allows nothing: the posts that follow need one. A request without a sender's name, such as that of a browser,
/// gets no consent.
pub(super) async fn handshake(State(App(app)): State<App>, headers: HeaderMap) -> Response {
    let mut answer = StatusCode::OK.into_response();
    let answered = answer.headers_mut();
    answered.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    let sender = headers.get("webhook-request-origin").filter(|sender| !sender.is_empty());
    if let Some(sender) = sender.filter(|_| app.tokens.take_events()) {
        answered.insert("webhook-allowed-origin", sender.clone());
        answered.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    }
    answer
}
