//! Requests to the server: the `JetStream` API in JSON, publishes and answers, each with a time limit.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::connection::State;
use async_nats::header::HeaderMap;
use async_nats::{Client, RequestError, Subscriber};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::Class;
use shared::nats::Violations;

use crate::{Error, Result};

/// How long the server has for an answer.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(5);

/// "consumer not found" of the `JetStream` API.
pub(super) const CONSUMER_NOT_FOUND: u64 = 10014;
/// "stream not found".
pub(super) const STREAM_NOT_FOUND: u64 = 10059;
/// "stream name already in use with a different configuration".
pub(super) const STREAM_NAME_IN_USE: u64 = 10058;
/// "consumer name already in use", and "consumer already exists".
pub(super) const CONSUMER_EXISTS: [u64; 3] = [10013, 10148, 10105];
/// "no message found".
pub(super) const NO_MESSAGE: u64 = 10037;

/// The connection.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) client: Client,
    /// The servers as configured, without user and password, for messages.
    pub(super) address: String,
    /// The prefix of the API's subjects: `$JS.API`, unless another domain or account has it.
    pub(super) prefix: String,
    /// The setting of the prefix, if there is one.
    pub(super) elsewhere: Option<String>,
    /// What this connection is not permitted to do, in the server's words.
    pub(super) violations: Violations,
}

/// An error that the `JetStream` API answered.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) code: u64,
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

/// The acknowledgement of a publish.
#[derive(Debug, Deserialize)]
pub(super) struct Stored {
    #[serde(rename = "seq")]
    pub(super) sequence: u64,
    #[serde(default)]
    pub(super) duplicate: bool,
}

/// A message as the stream keeps it.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) sequence: u64,
    pub(super) subject: String,
    /// The whole block of headers, including the line `NATS/1.0`.
    pub(super) headers: Vec<u8>,
    pub(super) payload: Bytes,
    pub(super) time: DateTime<Utc>,
}

impl Refusal {
    /// Turns it into an error; `what` says what was asked for.
    pub(super) fn error(&self, what: &str) -> Error {
        let text = format!("NATS refuses {what}: {} (error {})", self.description, self.err_code);
        match shared::nats::about(self.code, self.err_code) {
            Class::Input => Error::Refused(text),
            Class::Configuration | Class::Credentials | Class::Bug => Error::Configuration(text),
            Class::Unavailable | Class::Stopped => Error::Unavailable(text),
        }
    }
}

impl Api {
    /// Calls `$JS.API.<call>` and returns the answer, or the server's refusal.
    pub(super) async fn call(&self, call: &str, body: &Value) -> Result<std::result::Result<Value, Refusal>> {
        let payload = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::new().payload(payload).timeout(Some(ANSWER_TIME));
        let answer = self.request(format!("{}.{call}", self.prefix), request).await?;
        let answer = answer.map_err(|error| self.unanswered(call, &error))?;
        let mut value: Value = serde_json::from_slice(&answer.payload).map_err(|error| {
            Error::Unavailable(format!("NATS answers {call} with something strange: {error}"))
        })?;
        match value.get_mut("error").map(Value::take) {
            Some(refusal) => Ok(Err(serde_json::from_value(refusal).unwrap_or(Refusal {
                code: 500,
                err_code: 0,
                description: "no reason given".to_owned(),
            }))),
            None => Ok(Ok(value)),
        }
    }

    /// Sends a request, unless the server has said that it is not permitted: then no answer would come.
    async fn request(
        &self,
        subject: String,
        request: Request,
    ) -> Result<std::result::Result<async_nats::Message, RequestError>> {
        let asked = subject.clone();
        let answer = Box::pin(self.client.send_request(subject, request));
        Ok(self.violations.unless_refused(&asked, answer).await?)
    }

    /// A stored message, read without the client's parser; `None` if it does not exist.
    pub(super) async fn stored(&self, stream: &str, request: &Value) -> Result<Option<Raw>> {
        let message = match self.call(&format!("STREAM.MSG.GET.{stream}"), request).await? {
            Ok(mut answer) => answer["message"].take(),
            Err(refusal) if [NO_MESSAGE, STREAM_NOT_FOUND].contains(&refusal.err_code) => return Ok(None),
            Err(refusal) => return Err(refusal.error(&format!("to read a message of stream {stream}"))),
        };
        let text = |name: &str| message[name].as_str().unwrap_or_default();
        let bytes = |name: &str| STANDARD.decode(text(name)).unwrap_or_default();
        Ok(Some(Raw {
            sequence: message["seq"].as_u64().unwrap_or(0),
            subject: text("subject").to_owned(),
            headers: bytes("hdrs"),
            payload: Bytes::from(bytes("data")),
            time: text("time").parse().unwrap_or_default(),
        }))
    }

    /// How many connections were made, including the first.
    pub(super) fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Publishes and waits until the stream has stored it.
    pub(super) async fn publish(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<Stored> {
        let mut request = Request::new().payload(payload).timeout(Some(ANSWER_TIME));
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let answer = self.request(subject.to_owned(), request).await?.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => Error::Unavailable(format!(
                "no stream takes subject {subject}: NATS JetStream is down, or no dispatcher has added it to the stream"
            )),
            _ => self.unanswered(subject, &error),
        })?;
        let value: Value = serde_json::from_slice(&answer.payload).map_err(|_| {
            Error::Configuration(format!("something other than a stream answers on subject {subject}"))
        })?;
        if let Some(refusal) = value.get("error") {
            let refusal: Refusal = serde_json::from_value(refusal.clone()).map_err(|error| {
                Error::Unavailable(format!("NATS refuses a message on {subject}: {error}"))
            })?;
            return Err(refusal.error(&format!("a message on {subject}")));
        }
        serde_json::from_value(value).map_err(|_| {
            Error::Configuration(format!("something other than a stream answers on subject {subject}"))
        })
    }

    /// Sends an answer for a delivery and waits until the server has it.
    pub(super) async fn answer(&self, reply: &str, answer: Bytes) -> Result<()> {
        let request = Request::new().payload(answer).timeout(Some(ANSWER_TIME));
        let confirmation = self.request(reply.to_owned(), request).await?;
        confirmation.map(drop).map_err(|error| self.unanswered("an acknowledgement", &error))
    }

    /// Sends an answer for a delivery and does not wait.
    pub(super) async fn tell(&self, reply: &str, answer: &'static str) -> Result<()> {
        let sent = self.client.publish(reply.to_owned(), Bytes::from_static(answer.as_bytes())).await;
        sent.map_err(|error| {
            Error::Unavailable(format!("NATS at {} cannot be reached: {error}", self.address))
        })
    }

    /// Subscribes to a subject outside of `JetStream`'s streams.
    pub(super) async fn listen(&self, subject: String) -> Result<Subscriber> {
        let heard = self.client.subscribe(subject).await;
        heard.map_err(|error| {
            Error::Unavailable(format!("NATS at {} cannot be reached: {error}", self.address))
        })
    }

    /// Asks a consumer for messages. They come on the subscription, followed by a status.
    pub(super) async fn pull(&self, stream: &str, consumer: &str, wish: Wish) -> Result<Subscriber> {
        let lost = |error: &dyn std::fmt::Display| {
            Error::Unavailable(format!("NATS at {} cannot be reached: {error}", self.address))
        };
        let inbox = self.client.new_inbox();
        let messages = self.client.subscribe(inbox.clone()).await.map_err(|error| lost(&error))?;
        let call = format!("{}.CONSUMER.MSG.NEXT.{stream}.{consumer}", self.prefix);
        if let Some(refused) = self.violations.of(&call) {
            return Err(refused.into());
        }
        let sent = self.client.publish_with_reply(call, inbox, Bytes::from(wish.body().to_string())).await;
        sent.map_err(|error| lost(&error))?;
        Ok(messages)
    }

    /// The largest message that the server takes, headers included.
    pub(super) fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    pub(super) fn connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Sends everything that is still buffered, and ends the connection.
    pub(super) async fn close(&self) {
        if self.connected() {
            let _ = tokio::time::timeout(ANSWER_TIME, self.client.flush()).await;
        }
        let _ = tokio::time::timeout(ANSWER_TIME, self.client.drain()).await;
    }

    pub(super) fn disconnected(&self) -> Error {
        Error::Unavailable(format!("the connection to NATS at {} is lost; reconnecting", self.address))
    }

    fn unanswered(&self, what: &str, error: &RequestError) -> Error {
        match error.kind() {
            RequestErrorKind::MaxPayloadExceeded => Error::Refused(format!(
                "the message is larger than max_payload of the NATS server: {}",
                error.to_string().split_once(": ").map_or("", |(_, sizes)| sizes)
            )),
            RequestErrorKind::InvalidSubject => Error::Refused(format!("{what:?} is not a NATS subject")),
            RequestErrorKind::NoResponders => {
                let remedy = match &self.elsewhere {
                    Some(setting) => format!("correct {setting} if the server does not have it"),
                    None => "enable it with `jetstream {}` in the server's configuration or the flag -js"
                        .to_owned(),
                };
                Error::Unavailable(format!(
                    "NATS at {} answers, but JetStream does not ({what}): {remedy}, or wait for it",
                    self.address
                ))
            }
            RequestErrorKind::TimedOut | RequestErrorKind::Other if !self.connected() => self.disconnected(),
            RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                Error::Unavailable(format!("NATS at {} does not answer in time: {what}", self.address))
            }
        }
    }
}

/// A request for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// At most this many messages.
    pub(super) batch: usize,
    /// At most this many bytes; `None` means no limit.
    pub(super) bytes: Option<usize>,
    /// How long the server waits for the first message before it answers that there is none. `None`: it does not
    /// wait.
    pub(super) within: Option<Duration>,
}

impl Wish {
    fn body(self) -> Value {
        let mut body = json!({"batch": self.batch});
        match self.within {
            Some(within) => body["expires"] = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX).into(),
            None => body["no_wait"] = true.into(),
        }
        if let Some(bytes) = self.bytes {
            body["max_bytes"] = bytes.into();
        }
        body
    }
}
