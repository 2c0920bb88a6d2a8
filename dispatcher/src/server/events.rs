//! `POST /events`: CloudEvents over HTTP, structured and binary, answered once the event is durable.
//!
//! The NATS subject is that of the event's type, or the one in the query: `POST /events?subject=NAME`.

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use cloudevents::AttributesReader;
use serde::Deserialize;
use shared::event::{CONTENT_TYPE, Kind, derive_id, parse, to_json};

use super::App;
use crate::bus::Message;

#[derive(Deserialize)]
pub(super) struct Target {
    subject: Option<String>,
}

pub(super) async fn receive(
    State(App(app)): State<App>,
    Query(target): Query<Target>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refused) = app.tokens.may_publish(&headers) {
        return *refused;
    }
    let pairs: Vec<_> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let event = match parse(&pairs, &body) {
        Ok(event) => event,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let of_type =
        || Kind::ALL.into_iter().find(|kind| kind.ty() == event.ty()).map(|kind| kind.subject().to_owned());
    let Some(subject) = target.subject.or_else(of_type) else {
        let text =
            "the type is not one of the onboarding flow: name a NATS subject, POST /events?subject=NAME\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let payload = match to_json(&event) {
        Ok(payload) => payload,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    // CloudEvents: source and id together name one event; a second post of it changes nothing.
    let id = derive_id(&format!("{}\n{}\n{subject}", event.source(), event.id())).to_string();
    let message = Message {
        subject,
        id: Some(id),
        headers: vec![("Content-Type".to_owned(), CONTENT_TYPE.to_owned())],
        payload: payload.into(),
    };
    match app.bus.publish(message).await {
        Ok(_) => StatusCode::ACCEPTED.into_response(),
        Err(error) if error.try_again() => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not taken, try again: {error}\n")).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
