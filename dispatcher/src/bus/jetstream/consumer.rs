//! One durable pull consumer: looked up or created, never changed, and fetches that can be cancelled.
//!
//! A pull runs as its own task and its result waits in the slot of the consumer. So a caller may drop its fetch at any
//! point: what the server sends meanwhile is given to the next fetch, not lost until its lease runs out.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::api::{ANSWER_TIME, Api, CONSUMER_EXISTS, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND};
use super::pull::{Held, Times, pull};
use super::quarantine;
use super::stream::Wanted;
use crate::bus::{Backlog, Delivery, Error, Result};

/// Messages in flight on one subject over all replicas.
const MAX_ACK_PENDING: u32 = 10_000;

/// How the names of our consumers begin.
const PREFIX: &str = "dispatcher-";

#[derive(Debug)]
pub(super) struct Consumer {
    api: Api,
    stream: Wanted,
    name: String,
    subject: String,
    times: Times,
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// The lease that the server's consumer grants; known once it is looked up.
    lease: Option<Duration>,
    /// The connection, counted from one, on which unreadable messages were looked for.
    searched: u64,
    pull: Option<JoinHandle<Result<Vec<Held>>>>,
    ready: VecDeque<Held>,
}

impl Consumer {
    pub(super) fn new(api: Api, stream: Wanted, subject: String, times: Times) -> Self {
        let name = format!("{PREFIX}{}", subject.replace(['.', '*', '>'], "_"));
        Self { api, stream, name, subject, times, slot: tokio::sync::Mutex::default() }
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
        let connection = self.api.connects();
        if slot.searched != connection {
            // The connection is new: the last one may have broken over a message.
            quarantine::search(&self.api, &self.stream, &self.name, &self.subject).await?;
            slot.searched = connection;
        }
        let pull = slot.pull.get_or_insert_with(|| {
            let (api, stream, name) = (self.api.clone(), self.stream.name.clone(), self.name.clone());
            tokio::spawn(pull(api, stream, name, max, Times { lease, ..self.times }))
        });
        let pulled = pull.await; // dropped here, the task lives on in the slot
        slot.pull = None;
        match pulled {
            Ok(Ok(held)) => {
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
        match self
            .api
            .call(&format!("CONSUMER.INFO.{}.{}", self.stream.name, self.name), &Value::Null)
            .await?
        {
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
        let call = format!("CONSUMER.DURABLE.CREATE.{}.{}", self.stream.name, self.name);
        let request = json!({"stream_name": self.stream.name, "config": config, "action": "create"});
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
        for info in ours {
            let subject = info["config"]["filter_subject"].as_str().unwrap_or_default().to_owned();
            let waiting = info["num_pending"].as_u64().unwrap_or(0);
            let oldest = if waiting == 0 {
                None
            } else {
                let delivered = info["delivered"]["stream_seq"].as_u64().unwrap_or(0);
                let next = json!({"seq": delivered + 1, "next_by_subj": subject});
                api.stored(stream, &next).await?.map(|message| message.time)
            };
            let in_flight = info["num_ack_pending"].as_u64().unwrap_or(0);
            all.push(Backlog { subject, waiting, in_flight, oldest });
        }
        if consumers.is_empty() || offset as u64 >= page["total"].as_u64().unwrap_or(0) {
            all.sort_by(|left, right| left.subject.cmp(&right.subject));
            return Ok(all);
        }
    }
}
