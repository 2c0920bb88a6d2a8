//! Where a worker publishes what follows: JetStream, or the HTTP address in `K_SINK`.
//!
//! Reads `K_SINK` and `SINK_TOKEN`, else what [`crate::nats`] reads; `NATS_SUBJECT` overrides the subject.

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{self, Context, ErrorCode};
use serde::Deserialize;

use crate::config::{Environment, Secret};
use crate::error::{Error, Result};
use crate::event::{CONTENT_TYPE, Kind, Outgoing};
use crate::http::{Client, Endpoint};
use crate::nats;

#[derive(Deserialize)]
struct Settings {
    k_sink: Option<String>,
    sink_token: Option<Secret>,
}

/// Where to publish, read and checked but not connected.
#[derive(Clone)]
pub enum Destination {
    /// A JetStream stream.
    JetStream(nats::Settings),
    /// A dispatcher's `POST /events`.
    Sink(Client, Endpoint),
}

/// A destination that is ready.
pub enum Publisher {
    /// Connected to NATS, with the stream that must take what is published.
    JetStream(Box<Context>, String),
    /// An HTTP address.
    Sink(Client, Endpoint),
}

impl Destination {
    /// Reads which one is configured.
    pub fn read(environment: &Environment) -> Result<Self> {
        let settings: Settings = environment.read()?;
        if let Some(url) = settings.k_sink {
            let endpoint = Endpoint::new("K_SINK", &url, settings.sink_token)?;
            return Ok(Self::Sink(Client::read(environment)?, endpoint));
        }
        let settings: nats::Settings = environment.read()?;
        if settings.nats_server.is_none() {
            return Err(Error::configuration(
                "neither NATS_SERVER nor K_SINK is set: there is nowhere to publish",
            ));
        }
        settings.servers()?;
        Ok(Self::JetStream(settings))
    }

    /// Connects.
    pub async fn connect(self, name: &'static str) -> Result<Publisher> {
        match self {
            Self::Sink(client, endpoint) => Ok(Publisher::Sink(client, endpoint)),
            Self::JetStream(settings) => {
                let client = settings.connect_once(name).await?;
                Ok(Publisher::JetStream(Box::new(jetstream::new(client)), settings.nats_stream))
            }
        }
    }
}

impl Publisher {
    /// Publishes all and waits until each is acknowledged. One that was published before is acknowledged as well.
    pub async fn publish(&self, events: &[Outgoing]) -> Result<()> {
        match self {
            Self::Sink(client, endpoint) => {
                for event in events {
                    let mut endpoint = endpoint.clone();
                    endpoint.url.query_pairs_mut().append_pair("subject", &event.nats_subject);
                    client.send(&endpoint, CONTENT_TYPE, Some(&event.id), event.payload.clone()).await?;
                }
                Ok(())
            }
            Self::JetStream(context, stream) => {
                let mut pending = Vec::with_capacity(events.len());
                for event in events {
                    let mut headers = HeaderMap::new();
                    headers.insert("Content-Type", CONTENT_TYPE);
                    let message = jetstream::message::PublishMessage::build()
                        .headers(headers)
                        .message_id(&event.id)
                        .expected_stream(stream)
                        .payload(event.payload.clone().into());
                    let sent = context.send_publish(event.nats_subject.clone(), message).await;
                    pending.push((event, sent.map_err(|error| not_published(event, stream, error))?));
                }
                for (event, acknowledgement) in pending {
                    acknowledgement.await.map_err(|error| not_published(event, stream, error))?;
                }
                Ok(())
            }
        }
    }
}

fn not_published(event: &Outgoing, stream: &str, error: jetstream::context::PublishError) -> Error {
    let subject = &event.nats_subject;
    let cause =
        std::error::Error::source(&error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => {
            Error::input(format!("the event for {subject} is larger than NATS takes"))
        }
        PublishErrorKind::StreamNotFound => Error::unavailable(format!(
            "no stream takes {subject}; the dispatcher creates {stream} when it starts"
        )),
        _ if cause.is_some_and(|cause| cause.error_code() == ErrorCode::STREAM_NOT_MATCH) => {
            Error::configuration(format!("{subject} belongs to another stream than NATS_STREAM {stream}"))
        }
        _ => Error::unavailable(format!("NATS did not acknowledge the event for {subject}")).because(error),
    }
}

/// The subject a step publishes to: its own, unless `NATS_SUBJECT` names another. A shared Secret may hold one value
/// for all workers, so one that would start the same step again or belongs to another event is refused.
pub fn subject(environment: &Environment, trigger: Kind, emits: Kind) -> Result<String> {
    let Some(wanted) = environment.get("NATS_SUBJECT") else { return Ok(emits.subject().to_owned()) };
    match Kind::from_subject(wanted) {
        Some(kind) if kind == trigger => Err(Error::configuration(format!(
            "NATS_SUBJECT is {wanted}, which triggers this very step: the flow would never end; unset it"
        ))),
        Some(kind) if kind != emits => Err(Error::configuration(format!(
            "NATS_SUBJECT is {wanted}, but this step emits {}; unset it or name another subject",
            emits.subject()
        ))),
        _ if wanted.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>'))
            || wanted.split('.').any(str::is_empty) =>
        {
            Err(Error::configuration("NATS_SUBJECT is not a subject one can publish to"))
        }
        _ => Ok(wanted.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject_of(value: &str) -> Result<String> {
        let environment = Environment::from_pairs([("NATS_SUBJECT", value)]);
        subject(&environment, Kind::UserSaved, Kind::WelcomeEmailSent)
    }

    #[test]
    fn the_subject_is_the_events_own_unless_another_is_named() {
        assert_eq!(subject_of("").unwrap(), "welcome-email-sent");
        assert_eq!(subject_of("staging.welcome-email-sent").unwrap(), "staging.welcome-email-sent");
    }

    #[test]
    fn a_subject_that_would_loop_or_lie_is_a_configuration_error() {
        for bad in ["user-saved", "customer-saved", "a b", "a.>", "a..b"] {
            let error = subject_of(bad).unwrap_err();
            assert_eq!(error.class().exit_code(), 78, "{bad}");
            assert!(error.to_string().contains("NATS_SUBJECT"), "{error}");
        }
    }

    #[test]
    fn with_nowhere_to_publish_both_variables_are_named() {
        let error = Destination::read(&Environment::default()).err().unwrap();
        assert!(error.to_string().contains("neither NATS_SERVER nor K_SINK"), "{error}");
    }
}
