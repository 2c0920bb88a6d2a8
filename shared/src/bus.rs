//! Where a worker publishes the following events: JetStream, or the HTTP address in `K_SINK`.
//!
//! Reads `K_SINK` and `SINK_TOKEN`, otherwise what [`crate::nats`] reads; `NATS_SUBJECT` changes the subject.

use async_nats::HeaderMap;
use async_nats::client::RequestErrorKind;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{self, Context, ErrorCode};

use crate::config::{Described, Environment, Secret, Variables as _};
use crate::error::{Class, Error, Result};
use crate::event::{CONTENT_TYPE, Kind, Outgoing};
use crate::http::{self, Client, Endpoint};
use crate::{nats, variables};

variables! {
    struct Variables {
        settings {
            sink: Option<Secret> = "K_SINK", "publish by HTTP to this address instead of NATS";
            sink_token: Option<Secret> = "SINK_TOKEN", "its bearer token";
        }
        groups { nats: nats::Settings; http: http::Settings; }
    }
}

variables! {
    struct Override {
        settings { subject: Option<Secret> = "NATS_SUBJECT", "publish to this subject instead of the event's own"; }
    }
}

/// Where to publish: checked but not connected.
#[derive(Clone)]
pub enum Destination {
    /// A JetStream stream.
    JetStream(nats::Settings),
    /// A dispatcher's `POST /events`.
    Sink(Client, Endpoint),
}

/// A connected destination.
pub enum Publisher {
    /// Connected to NATS.
    JetStream(Box<Stream>),
    /// An HTTP address.
    Sink(Client, Endpoint),
}

impl Destination {
    /// Its variables, for the help.
    pub(crate) fn variables() -> Vec<Described> {
        [Variables::settings(), Override::settings()].concat()
    }

    /// The names of the variables that may contain a secret.
    pub(crate) fn secrets() -> Vec<&'static str> {
        [Variables::secrets(), Override::secrets()].concat()
    }

    /// Reads the configured destination.
    pub fn read(environment: &Environment) -> Result<Self> {
        let variables = Variables::read(environment)?;
        if let Some(url) = variables.sink {
            let endpoint = Endpoint::new("K_SINK", &url, variables.sink_token)?;
            return Ok(Self::Sink(Client::new(&variables.http)?, endpoint));
        }
        if !variables.nats.is_set() {
            return Err(Error::configuration(
                "neither NATS_SERVER nor K_SINK is set: there is nowhere to publish",
            ));
        }
        variables.nats.check()?;
        Ok(Self::JetStream(variables.nats))
    }

    /// Connects.
    pub async fn connect(self, name: &'static str) -> Result<Publisher> {
        match self {
            Self::Sink(client, endpoint) => Ok(Publisher::Sink(client, endpoint)),
            Self::JetStream(settings) => {
                let (client, violations) = settings.connect_once(name).await?;
                let context = jetstream::new(client.clone());
                let name = settings.stream().to_owned();
                Ok(Publisher::JetStream(Box::new(Stream { client, context, name, violations })))
            }
        }
    }
}

impl Publisher {
    /// Publishes all events and waits until each is acknowledged. An event that was published before is acknowledged
    /// as well.
    pub async fn publish(&self, events: &[Outgoing]) -> Result<()> {
        match self {
            Self::Sink(client, endpoint) => {
                for event in events {
                    let mut endpoint = endpoint.clone();
                    endpoint.url.query_pairs_mut().append_pair("subject", &event.nats_subject);
                    client.publish(&endpoint, CONTENT_TYPE, &event.id, event.payload.clone()).await?;
                }
                Ok(())
            }
            Self::JetStream(stream) => stream.publish(events).await,
        }
    }
}

/// A connection to NATS, and the stream that must take what is published.
pub struct Stream {
    client: async_nats::Client,
    context: Context,
    name: String,
    violations: nats::Violations,
}

impl Stream {
    async fn publish(&self, events: &[Outgoing]) -> Result<()> {
        self.check_kept(events).await?;
        let mut pending = Vec::with_capacity(events.len());
        for event in events {
            let mut headers = HeaderMap::new();
            headers.insert("Content-Type", CONTENT_TYPE);
            let message = jetstream::message::PublishMessage::build()
                .headers(headers)
                .message_id(&event.id)
                .expected_stream(&self.name)
                .payload(event.payload.clone().into());
            let sent = self.context.send_publish(event.nats_subject.clone(), message).await;
            pending.push((event, sent.map_err(|error| not_published(event, &self.name, error))?));
        }
        for (event, acknowledgement) in pending {
            let answer =
                self.violations.unless_refused(&event.nats_subject, acknowledgement.into_future()).await?;
            if let Err(error) = answer {
                if error.kind() == PublishErrorKind::StreamNotFound && self.is_without_jetstream().await {
                    return Err(Error::configuration(
                        "JetStream is off on the NATS server, or for this account: enable it with `jetstream {}` in the server's \
                         configuration or the flag -js",
                    ));
                }
                return Err(not_published(event, &self.name, error));
            }
        }
        Ok(())
    }

    /// On a subject without a stream nobody answers, and neither does a server without JetStream.
    async fn is_without_jetstream(&self) -> bool {
        let asked = "$JS.API.INFO";
        let answer =
            self.violations.unless_refused(asked, Box::pin(self.client.request(asked, "".into()))).await;
        match answer {
            Ok(Ok(message)) => {
                let value: serde_json::Value = serde_json::from_slice(&message.payload).unwrap_or_default();
                let number = value["error"]["err_code"].as_u64();
                number.is_some_and(|number| nats::about(503, number) == Class::Configuration)
            }
            Ok(Err(error)) => error.kind() == RequestErrorKind::NoResponders,
            Err(_) => false,
        }
    }

    /// A subject that is not the flow's own must be one that the stream keeps, so that nobody else receives the
    /// events.
    async fn check_kept(&self, events: &[Outgoing]) -> Result<()> {
        let mut others =
            events.iter().map(|event| &event.nats_subject).filter(|name| Kind::from_subject(name).is_none());
        let Some(other) = others.next() else { return Ok(()) };
        let stream = &self.name;
        if ["-dead-letters", "-tries"].iter().any(|end| stream.ends_with(end)) {
            return Err(Error::configuration(format!(
                "NATS_STREAM is {stream}, which the dispatcher keeps for itself: name the stream of the events"
            )));
        }
        let away = || Error::unavailable(format!("NATS does not say what stream {stream} keeps"));
        // The library's type for a stream is large, and only one of its fields is needed.
        let asked = format!("$JS.API.STREAM.INFO.{stream}");
        let answer = Box::pin(self.client.request(asked.clone(), "".into()));
        let answer =
            self.violations.unless_refused(&asked, answer).await?.map_err(|error| away().because(error))?;
        let info: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        let kept = info["config"]["subjects"].as_array().ok_or_else(away)?;
        if kept.iter().filter_map(|kept| kept.as_str()).any(|kept| nats::takes(kept, other)) {
            return Ok(());
        }
        Err(Error::configuration(format!(
            "NATS_SUBJECT is {other}, which stream {stream} does not keep: name a subject of the dispatcher's manifests"
        )))
    }
}

fn not_published(event: &Outgoing, stream: &str, error: jetstream::context::PublishError) -> Error {
    let subject = &event.nats_subject;
    let cause =
        std::error::Error::source(&error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), cause) {
        (PublishErrorKind::MaxPayloadExceeded, _) => {
            Error::input(format!("the event for {subject} is larger than NATS takes (max_payload)"))
        }
        (PublishErrorKind::StreamNotFound, _) => Error::unavailable(format!(
            "no stream takes {subject}; the dispatcher creates {stream} when it starts"
        )),
        (_, Some(cause)) if cause.error_code() == ErrorCode::STREAM_NOT_MATCH => {
            Error::configuration(format!("{subject} belongs to another stream than NATS_STREAM {stream}"))
        }
        (_, Some(cause)) => {
            let class = nats::about(u64::try_from(cause.code()).unwrap_or(0), cause.error_code().0);
            Error::of(class, format!("stream {stream} does not take the event for {subject}")).because(error)
        }
        (_, None) => {
            Error::unavailable(format!("NATS did not acknowledge the event for {subject}")).because(error)
        }
    }
}

/// The subject that a step publishes on: its own, unless `NATS_SUBJECT` names another. A shared Secret may have one
/// value for all workers, so a subject that would start the same step again, or belongs to another event, is refused.
pub fn subject(environment: &Environment, trigger: Kind, emits: Kind) -> Result<String> {
    let Some(wanted) = Override::read(environment)?.subject else { return Ok(emits.subject().to_owned()) };
    let wanted = wanted.expose();
    match Kind::from_subject(wanted) {
        Some(kind) if kind == trigger => Err(Error::configuration(format!(
            "NATS_SUBJECT is {wanted}, which triggers this very step: the flow would never end; unset it"
        ))),
        Some(kind) if kind != emits => Err(Error::configuration(format!(
            "NATS_SUBJECT is {wanted}, but this step emits {}; unset it or name another subject",
            emits.subject()
        ))),
        _ if wanted.starts_with(['$', '_'])
            || wanted.split('.').any(|token| token.starts_with("dead-letter")) =>
        {
            Err(Error::configuration(
                "NATS_SUBJECT is a subject of the NATS server itself, or of dead letters",
            ))
        }
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
        let reserved = [
            "$JS.API.STREAM.PURGE.a",
            "$KV.a.b",
            "_INBOX.a",
            "customer-onboarding.dead-letters.x",
            "a.dead-letter-parts.b.1",
        ];
        for bad in ["user-saved", "customer-saved", "a b", "a.>", "a..b"].into_iter().chain(reserved) {
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
