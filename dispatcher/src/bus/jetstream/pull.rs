//! One pull: what is there, or the next that comes.

use std::time::{Duration, Instant};

use async_nats::StatusCode;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use serde_json::Value;

use super::api::{ANSWER_TIME, Api, one_within, up_to};
use super::{Handle, header_list};
use crate::bus::delivery::{self, replay_count};
use crate::bus::{Delivery, Error, Result};

/// How often a waiting request looks whether its connection is still the same.
const LOOK: Duration = Duration::from_millis(200);

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Of a consumer that we create.
    pub(super) lease: Duration,
    /// Of a fetch that finds nothing.
    pub(super) heartbeat: Duration,
}

/// A delivery that nobody has asked for yet.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) since: Instant,
    pub(super) delivery: Delivery,
}

/// What is there now, up to `max`; else the first that comes, and what came with it.
pub(super) async fn pull(
    api: Api,
    stream: String,
    consumer: String,
    max: usize,
    times: Times,
) -> Result<Vec<Held>> {
    let source = Source { api, stream, consumer, lease: times.lease };
    // Each request ends on the server before the next step, so that none is left there to take messages unseen.
    let mut held = source.request(&up_to(max), max, ANSWER_TIME).await?;
    if held.is_empty() {
        let limit = times.heartbeat + ANSWER_TIME / 2;
        held = source.request(&one_within(times.heartbeat), 1, limit).await?;
        if !held.is_empty() && max > 1 {
            // Those we hold count even when this fails.
            held.extend(source.request(&up_to(max - 1), max - 1, ANSWER_TIME).await.unwrap_or_default());
        }
    }
    Ok(held)
}

/// The consumer from which a pull takes.
struct Source {
    api: Api,
    stream: String,
    consumer: String,
    lease: Duration,
}

impl Source {
    /// Sends one request and gathers up to `batch` messages, until the server says that it is done.
    async fn request(&self, body: &Value, batch: usize, limit: Duration) -> Result<Vec<Held>> {
        let api = &self.api;
        let mut messages = api.pull(&self.stream, &self.consumer, body).await?;
        let connection = api.connects();
        let deadline = Instant::now() + limit;
        let mut held = Vec::new();
        while held.len() < batch {
            let ended = match tokio::time::timeout(LOOK, messages.next()).await {
                // A server that was reached anew knows nothing of this request.
                Err(_) if Instant::now() < deadline && api.connects() == connection => continue,
                // A stored message may bear a status of its own: those with an address to answer to are messages.
                Ok(Some(message))
                    if message.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK.")) =>
                {
                    let delivery = delivery(api, message, self.lease);
                    held.extend(delivery.map(|delivery| Held { since: Instant::now(), delivery }));
                    continue;
                }
                Ok(Some(message)) => match message.status {
                    None | Some(StatusCode::OK | StatusCode::IDLE_HEARTBEAT) => continue,
                    Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => return Ok(held),
                    Some(status) => Error::Unavailable(format!(
                        "NATS refuses a fetch from consumer {}: {status} {}",
                        self.consumer,
                        message.description.unwrap_or_default()
                    )),
                },
                Ok(None) | Err(_) if api.connected() && api.connects() == connection => {
                    Error::Unavailable(format!("NATS at {} does not answer a fetch in time", api.address))
                }
                Ok(None) | Err(_) => {
                    Error::Unavailable(format!("NATS at {} was disconnected during a fetch", api.address))
                }
            };
            // What came before counts: the next fetch meets the error again if it stays.
            return if held.is_empty() { Err(ended) } else { Ok(held) };
        }
        Ok(held)
    }
}

fn delivery(api: &Api, message: async_nats::Message, lease: Duration) -> Option<Delivery> {
    let reply = message.reply?.to_string();
    let facts = Facts::parse(&reply)?;
    let headers = header_list(message.headers.as_ref());
    Some(Delivery {
        subject: message.subject.to_string(),
        replay: replay_count(&headers),
        headers,
        payload: message.payload,
        published_at: facts.published_at,
        sequence: facts.sequence,
        attempt: facts.attempt,
        lease,
        handle: delivery::Handle::JetStream(Handle { api: api.clone(), reply }),
    })
}

/// What the reply subject of a delivery says (ADR-15).
#[derive(Debug, PartialEq)]
struct Facts {
    attempt: u64,
    sequence: u64,
    published_at: DateTime<Utc>,
}

impl Facts {
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<nanoseconds>.<pending>`, or with a
    /// domain and an account hash before the stream, and more after.
    fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<_> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let numbers = match tokens.len() {
            7 => &tokens[2..],
            9.. => &tokens[4..],
            _ => return None,
        };
        Some(Self {
            attempt: numbers[0].parse().ok()?,
            sequence: numbers[1].parse().ok()?,
            published_at: DateTime::from_timestamp_nanos(numbers[3].parse().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Facts;

    #[test]
    fn both_forms_of_the_reply_subject_are_read() {
        let short = Facts::parse("$JS.ACK.stream.consumer.3.17.20.1700000000000000001.5").unwrap();
        let long =
            Facts::parse("$JS.ACK.hub.hash.stream.consumer.3.17.20.1700000000000000001.5.token").unwrap();
        assert_eq!((short.attempt, short.sequence), (3, 17));
        assert_eq!(short.published_at.timestamp_nanos_opt(), Some(1_700_000_000_000_000_001));
        assert_eq!(short, long);
        assert_eq!(Facts::parse("_INBOX.x"), None);
    }
}
