//! One durable pull consumer: looked up or created, never changed, and fetches that can be cancelled.
//!
//! A pull runs as its own task and its result waits in the slot of the consumer. So a caller may drop its fetch at any
//! point: what the server sends meanwhile is given to the next fetch, not lost until its lease runs out.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::StatusCode;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::api::{
    ANSWER_TIME, Api, CONSUMER_EXISTS, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, one_within, up_to,
};
use super::{Handle, header_list};
use crate::bus::delivery::{self, replay_count};
use crate::bus::{Backlog, Delivery, Error, Result};

/// Messages in flight on one subject over all replicas.
const MAX_ACK_PENDING: u32 = 10_000;

/// How the names of our consumers begin.
const PREFIX: &str = "dispatcher-";

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Of a consumer that we create.
    pub(super) lease: Duration,
    /// Of a fetch that finds nothing.
    pub(super) heartbeat: Duration,
}

#[derive(Debug)]
pub(super) struct Consumer {
    api: Api,
    stream: String,
    name: String,
    subject: String,
    times: Times,
    slot: tokio::sync::Mutex<Slot>,
    last_answer: Mutex<Option<DateTime<Utc>>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// The lease that the server's consumer grants; known once it is looked up.
    lease: Option<Duration>,
    pull: Option<JoinHandle<Result<Vec<Held>>>>,
    ready: VecDeque<Held>,
}

/// A delivery that nobody has asked for yet.
#[derive(Debug)]
struct Held {
    since: Instant,
    delivery: Delivery,
}

impl Consumer {
    pub(super) fn new(api: Api, stream: String, subject: String, times: Times) -> Self {
        let name = format!("{PREFIX}{}", subject.replace(['.', '*', '>'], "_"));
        Self {
            api,
            stream,
            name,
            subject,
            times,
            slot: tokio::sync::Mutex::default(),
            last_answer: Mutex::default(),
        }
    }

    pub(super) async fn fetch(&self, max: usize) -> Result<Vec<Delivery>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let mut slot = self.slot.lock().await;
        let lease = self.ensured(&mut slot).await?;
        if let Some(deliveries) = slot.take(max, lease) {
            return Ok(deliveries);
        }
        let pull = slot.pull.get_or_insert_with(|| {
            let (api, stream, name) = (self.api.clone(), self.stream.clone(), self.name.clone());
            tokio::spawn(pull(api, stream, name, max, Times { lease, ..self.times }))
        });
        let pulled = pull.await; // dropped here, the task lives on in the slot
        slot.pull = None;
        match pulled {
            Ok(Ok(held)) => {
                *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Utc::now());
                slot.ready.extend(held);
                Ok(slot.take(max, lease).unwrap_or_default())
            }
            Ok(Err(error)) => {
                slot.lease = None; // it may be gone: look it up again
                Err(error)
            }
            Err(error) => {
                Err(Error::Unavailable(format!("a fetch on {} was broken off: {error}", self.subject)))
            }
        }
    }

    /// When the server last answered a fetch; `None` while nothing was fetched.
    pub(super) fn last_answer(&self) -> Option<DateTime<Utc>> {
        *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back at once what was pulled for a fetch that is gone.
    pub(super) async fn hand_back(&self) {
        let Ok(mut slot) = tokio::time::timeout(ANSWER_TIME, self.slot.lock()).await else { return };
        if let Some(pull) = slot.pull.take() {
            if pull.is_finished() {
                slot.ready.extend(pull.await.ok().and_then(Result::ok).unwrap_or_default());
            } else {
                pull.abort();
            }
        }
        for held in slot.ready.drain(..) {
            if let Err(error) = held.delivery.nak(Duration::ZERO).await {
                tracing::warn!("a message on {} comes again only when its lease ends: {error}", self.subject);
            }
        }
    }

    /// The lease of the consumer, which is there afterwards.
    async fn ensured(&self, slot: &mut Slot) -> Result<Duration> {
        if let Some(lease) = slot.lease {
            return Ok(lease);
        }
        let info = match self.info().await? {
            Some(info) => info,
            None => self.create().await?,
        };
        let lease = self.check_config(&info["config"])?;
        slot.lease = Some(lease);
        Ok(lease)
    }

    async fn info(&self) -> Result<Option<Value>> {
        match self.api.call(&format!("CONSUMER.INFO.{}.{}", self.stream, self.name), &Value::Null).await? {
            Ok(info) => Ok(Some(info)),
            Err(refusal) if refusal.err_code == CONSUMER_NOT_FOUND => Ok(None),
            Err(refusal) => Err(refusal.error(&format!("information on consumer {}", self.name))),
        }
    }

    async fn create(&self) -> Result<Value> {
        let config = json!({
            "durable_name": self.name,
            "description": "events for the dispatcher",
            "filter_subject": self.subject,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": u64::try_from(self.times.lease.as_nanos()).unwrap_or(u64::MAX),
            "max_deliver": -1,
            "max_ack_pending": MAX_ACK_PENDING,
            "replay_policy": "instant",
        });
        let call = format!("CONSUMER.DURABLE.CREATE.{}.{}", self.stream, self.name);
        let request = json!({"stream_name": self.stream, "config": config, "action": "create"});
        match self.api.call(&call, &request).await? {
            Ok(info) => {
                tracing::info!(nats.consumer = %self.name, "created the consumer of {}", self.subject);
                Ok(info)
            }
            // Another replica was first.
            Err(refusal) if CONSUMER_EXISTS.contains(&refusal.err_code) => {
                self.info().await?.ok_or_else(|| refusal.error(&format!("consumer {}", self.name)))
            }
            Err(refusal) => Err(refusal.error(&format!("to create consumer {}", self.name))),
        }
    }

    fn check_config(&self, config: &Value) -> Result<Duration> {
        let wrong = |what: String| {
            Err(Error::Configuration(format!(
                "the NATS consumer {} has {what}: it is not the dispatcher's; rename it or set NATS_STREAM to another stream",
                self.name
            )))
        };
        if config["ack_policy"] != "explicit" {
            return wrong(format!("ack_policy {} instead of \"explicit\"", config["ack_policy"]));
        }
        if config["filter_subject"] != self.subject.as_str() {
            return wrong(format!(
                "filter_subject {} instead of {:?}",
                config["filter_subject"], self.subject
            ));
        }
        if config.get("deliver_subject").is_some_and(|subject| !subject.is_null()) {
            return wrong("a deliver_subject (push) instead of pull".to_owned());
        }
        if config["max_deliver"].as_i64().is_some_and(|times| times > 0) {
            return wrong(format!("max_deliver {} instead of -1, which loses events", config["max_deliver"]));
        }
        Ok(config["ack_wait"].as_u64().map_or(self.times.lease, Duration::from_nanos))
    }
}

impl Slot {
    /// Up to `max` of those that wait here and whose lease is fresh; `None` if there are none. The others come again.
    fn take(&mut self, max: usize, lease: Duration) -> Option<Vec<Delivery>> {
        self.ready.retain(|held| held.since.elapsed() < lease / 2);
        let count = max.min(self.ready.len());
        (count > 0).then(|| self.ready.drain(..count).map(|held| held.delivery).collect())
    }
}

/// What waits for each of the dispatcher's consumers, by subject. A message that waits after a nak is in flight for the
/// server.
pub(super) async fn backlog(api: &Api, stream: &str) -> Result<Vec<Backlog>> {
    let mut all = Vec::new();
    let mut offset = 0;
    loop {
        let page = match api.call(&format!("CONSUMER.LIST.{stream}"), &json!({"offset": offset})).await? {
            Ok(page) => page,
            Err(refusal) if refusal.err_code == STREAM_NOT_FOUND => return Ok(all),
            Err(refusal) => return Err(refusal.error("the list of consumers")),
        };
        let consumers = page["consumers"].as_array().map(Vec::as_slice).unwrap_or_default();
        offset += consumers.len();
        let ours = consumers
            .iter()
            .filter(|info| info["name"].as_str().is_some_and(|name| name.starts_with(PREFIX)));
        all.extend(ours.map(|info| Backlog {
            subject: info["config"]["filter_subject"].as_str().unwrap_or_default().to_owned(),
            waiting: info["num_pending"].as_u64().unwrap_or(0),
            in_flight: info["num_ack_pending"].as_u64().unwrap_or(0),
        }));
        if consumers.is_empty() || offset as u64 >= page["total"].as_u64().unwrap_or(0) {
            all.sort_by(|left, right| left.subject.cmp(&right.subject));
            return Ok(all);
        }
    }
}

/// What is there now, up to `max`; else the first that comes, and what came with it.
async fn pull(api: Api, stream: String, consumer: String, max: usize, times: Times) -> Result<Vec<Held>> {
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
        let deadline = tokio::time::Instant::now() + limit;
        let mut held = Vec::new();
        while held.len() < batch {
            let ended = match tokio::time::timeout_at(deadline, messages.next()).await {
                Ok(Some(message)) => match message.status {
                    None | Some(StatusCode::OK) => {
                        let delivery = delivery(api, message, self.lease);
                        held.extend(delivery.map(|delivery| Held { since: Instant::now(), delivery }));
                        continue;
                    }
                    Some(StatusCode::IDLE_HEARTBEAT) => continue,
                    Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => return Ok(held),
                    Some(status) => Error::Unavailable(format!(
                        "NATS refuses a fetch from consumer {}: {status} {}",
                        self.consumer,
                        message.description.unwrap_or_default()
                    )),
                },
                Ok(None) | Err(_) if api.connected() => {
                    Error::Unavailable(format!("NATS at {} does not answer a fetch in time", api.address))
                }
                Ok(None) | Err(_) => {
                    Error::Unavailable(format!("NATS at {} is disconnected; reconnecting", api.address))
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
