//! A message as a CloudEvent, and the event as templates see it.

use std::fmt::Write;

use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::{DateTime, SecondsFormat, Utc};
use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader, Data, Event};
use serde_json::{Map, Value};

use super::{PlanError, Stage};

/// A CloudEvent that came on a NATS subject.
#[derive(Debug, Clone)]
pub struct IncomingEvent {
    /// The subject of the NATS message.
    pub nats_subject: String,
    /// How often this event was replayed from the dead letters. Each replay has another event hash.
    pub replay: u32,
    /// The event without its data and the attributes that describe it; these are in the view.
    event: Event,
    view: Value,
}

impl IncomingEvent {
    /// Reads a message in structured or binary mode. An error means that the message is not a CloudEvent.
    pub fn parse(
        nats_subject: &str,
        headers: &[(String, String)],
        payload: &[u8],
    ) -> Result<Self, PlanError> {
        let mut event = shared::event::parse(headers, payload)
            .map_err(|error| PlanError::new(Stage::Event, error.to_string()))?;
        let view = view(&mut event);
        Ok(Self { nats_subject: nats_subject.to_owned(), replay: 0, event, view })
    }

    /// The same event as a replay.
    #[must_use]
    pub fn replayed(mut self, replay: u32) -> Self {
        self.replay = replay;
        self
    }

    /// The CloudEvent's `id`.
    pub fn id(&self) -> &str {
        self.event.id()
    }

    /// The CloudEvent's `type`.
    pub fn event_type(&self) -> &str {
        self.event.ty()
    }

    /// The CloudEvent's `source`, as templates and patterns see it.
    pub fn source(&self) -> &str {
        self.view["source"].as_str().unwrap_or_default()
    }

    /// The CloudEvent's `subject`, empty if it has none.
    pub fn subject(&self) -> &str {
        self.event.subject().unwrap_or_default()
    }

    /// The CloudEvent's `time`.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        self.event.time().copied()
    }

    /// An extension attribute as text. Names are in lower case.
    pub fn extension(&self, name: &str) -> Option<String> {
        self.event.extension(name).map(|value| match value {
            ExtensionValue::String(text) => text.clone(),
            ExtensionValue::Boolean(flag) => flag.to_string(),
            ExtensionValue::Integer(number) => number.to_string(),
        })
    }

    /// How many events came before this one in its chain; 0 if the value is not a number.
    pub fn hop_count(&self) -> u32 {
        self.extension("hopcount")
            .and_then(|hops| hops.parse::<i64>().ok())
            .map_or(0, |hops| u32::try_from(hops.max(0)).unwrap_or(u32::MAX))
    }

    /// `.CloudEvent`: what the Go SDK of Sveltos would write.
    pub fn view(&self) -> &Value {
        &self.view
    }
}

fn view(event: &mut Event) -> Value {
    let (content_type, schema, data) = event.take_data();
    let mut view = Map::new();
    view.insert("specversion".into(), event.specversion().as_str().into());
    view.insert("id".into(), event.id().into());
    view.insert("source".into(), reference(event.source().as_str()).into());
    view.insert("type".into(), event.ty().into());
    for (name, value) in [
        ("subject", event.subject().filter(|subject| !subject.is_empty()).map(str::to_owned)),
        ("datacontenttype", content_type),
        ("dataschema", schema.map(String::from)),
        ("time", event.time().map(timestamp)),
    ] {
        if let Some(value) = value {
            view.insert(name.into(), value.into());
        }
    }
    for (name, value) in event.iter_extensions() {
        let value = match value {
            ExtensionValue::String(text) => Value::from(text.as_str()),
            ExtensionValue::Boolean(flag) => Value::from(*flag),
            ExtensionValue::Integer(number) => Value::from(*number),
        };
        view.insert(name.to_lowercase(), value);
    }
    match data {
        Some(Data::Json(value)) => view.insert("data".into(), value),
        Some(Data::String(text)) => view.insert("data".into(), text.into()),
        Some(Data::Binary(bytes)) => view.insert("data_base64".into(), BASE64_STANDARD.encode(bytes).into()),
        None => None,
    };
    Value::Object(view)
}

/// RFC 3339 in UTC with as many digits as needed, as Go's `RFC3339Nano`.
fn timestamp(time: &DateTime<Utc>) -> String {
    let text = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let seconds = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{seconds}Z")
}

/// Go prints a URI reference and percent-encodes every character that is not allowed in it.
fn reference(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for byte in source.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
    out
}
