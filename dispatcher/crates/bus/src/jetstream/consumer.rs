//! One durable pull consumer: it is looked up or created, and its lease is set. Its fetches can be cancelled.
//!
//! A pull runs as its own task, and its result waits in the slot of the consumer. So a caller may drop its fetch at
//! any point: what the server sends meanwhile goes to the next fetch, instead of being lost until its lease ends.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::api::{ANSWER_TIME, Api, CONSUMER_EXISTS, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND};
use super::pull::{Held, Pulled, Times, TooLarge, pull};
use super::quarantine;
use super::stream::Wanted;
use crate::budget::{Budget, Room};
use crate::fetch_health::FetchHealth;
use crate::{Backlog, Delivery, Error, Result};

/// Messages in flight on one subject over all replicas, including parked ones.
const MAX_ACK_PENDING: u64 = 20_000;

/// The prefix of our consumers' names.
const PREFIX: &str = "dispatcher-";

#[derive(Debug)]
pub(super) struct Consumer {
    api: Api,
    stream: Wanted,
    /// The stream whose dead letters take messages that cannot be read.
    letters: Wanted,
    name: String,
    subject: String,
    times: Times,
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// The lease that the consumer grants on the server; known once it was looked up.
    lease: Option<Duration>,
    /// The number of the connection on which unreadable messages were looked for.
    searched: u64,
    pull: Option<JoinHandle<Result<Pulled>>>,
    ready: VecDeque<Held>,
    /// How large the next message is, according to the last pull.
    too_large: Option<TooLarge>,
}

impl Consumer {
    pub(super) fn new(api: Api, stream: Wanted, letters: Wanted, subject: String, times: Times) -> Self {
        let name = format!("{PREFIX}{}", subject.replace(['.', '*', '>'], "_"));
        Self { api, stream, letters, name, subject, times, slot: tokio::sync::Mutex::default() }
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream.name
    }

    /// One call at a time: a second one waits for the first.
    pub(super) async fn fetch(
        &self,
        max: usize,
        budget: &Budget,
        fetches: &FetchHealth,
    ) -> Result<Vec<Delivery>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let mut slot = self.slot.lock().await;
        let mut asked = fetches.begin(&self.subject);
        loop {
            let lease = match self.ensured(&mut slot).await {
                Ok(lease) => lease,
                Err(error) => {
                    asked.ended(false);
                    return Err(error);
                }
            };
            if let Some(deliveries) = slot.take(max, lease) {
                return Ok(deliveries);
            }
            let alone = slot.too_large == Some(TooLarge::Asking);
            let room = match budget.room_now(&self.subject, alone) {
                room if room.is_some() || slot.pull.is_some() => room,
                _ => {
                    // It is not the server's fault that this waits.
                    asked.ended(true);
                    let room = budget.room(&self.subject, alone).await;
                    asked = fetches.begin(&self.subject);
                    Some(room)
                }
            };
            if let Err(error) = self.pulled(&mut slot, max, lease, room).await {
                asked.ended(false);
                return Err(error);
            }
            if !slot.ready.is_empty() || slot.too_large.is_none() {
                return Ok(slot.take(max, lease).unwrap_or_default());
            }
        }
    }

    /// Fills the slot with what the server has, within this room, unless a pull is under way.
    async fn pulled(&self, slot: &mut Slot, max: usize, lease: Duration, room: Option<Room>) -> Result<()> {
        let connection = self.api.connects();
        if slot.searched != connection {
            // The connection is new: a message may have broken the last one.
            quarantine::search(&self.api, &self.stream, &self.letters, &self.name, &self.subject).await?;
            slot.searched = connection;
        }
        if let Some(room) = room.filter(|_| slot.pull.is_none()) {
            let (api, stream, name) = (self.api.clone(), self.stream.clone(), self.name.clone());
            let times = Times { lease, ..self.times };
            slot.pull = Some(tokio::spawn(pull(api, stream, name, max, times, room)));
        }
        let Some(pull) = slot.pull.as_mut() else { return Ok(()) };
        let pulled = pull.await; // if this is dropped, the task stays in the slot
        slot.pull = None;
        match pulled {
            Ok(Ok(pulled)) => {
                slot.ready.extend(pulled.held);
                slot.too_large = pulled.too_large;
                Ok(())
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

    /// Hands back at once what was pulled for a fetch that was cancelled.
    pub(super) async fn hand_back(&self) {
        let Ok(mut slot) = tokio::time::timeout(ANSWER_TIME, self.slot.lock()).await else { return };
        if let Some(pull) = slot.pull.take() {
            if pull.is_finished() {
                slot.ready.extend(pull.await.ok().and_then(Result::ok).unwrap_or_default().held);
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

    /// The lease of the consumer, which is created if it does not exist.
    async fn ensured(&self, slot: &mut Slot) -> Result<Duration> {
        if let Some(lease) = slot.lease {
            return Ok(lease);
        }
        let mut info = match self.info().await? {
            Some(info) => info,
            None => self.create().await?,
        };
        self.check_config(&info["config"])?;
        if self.is_outdated(&info["config"]) {
            info = self.update(info["config"].take()).await?;
        }
        let lease = info["config"]["ack_wait"].as_u64().map_or(self.times.lease, Duration::from_nanos);
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
            "ack_wait": self.ack_wait(),
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
            // Another replica has created it first.
            Err(refusal) if CONSUMER_EXISTS.contains(&refusal.err_code) => {
                self.info().await?.ok_or_else(|| refusal.error(&format!("consumer {}", self.name)))
            }
            Err(refusal) => Err(refusal.error(&format!("to create consumer {}", self.name))),
        }
    }

    /// Whether it was made with another lease, or by an older version.
    fn is_outdated(&self, config: &Value) -> bool {
        let pending = config["max_ack_pending"].as_u64();
        config["ack_wait"].as_u64() != Some(self.ack_wait())
            || pending.is_some_and(|most| (1..MAX_ACK_PENDING).contains(&most))
    }

    fn ack_wait(&self) -> u64 {
        u64::try_from(self.times.lease.as_nanos()).unwrap_or(u64::MAX)
    }

    /// All other settings stay as they are.
    async fn update(&self, mut config: Value) -> Result<Value> {
        let most = config["max_ack_pending"].as_u64().unwrap_or(0);
        config["ack_wait"] = self.ack_wait().into();
        config["max_ack_pending"] = most.max(MAX_ACK_PENDING).into();
        let call = format!("CONSUMER.DURABLE.CREATE.{}.{}", self.stream.name, self.name);
        let request = json!({"stream_name": self.stream.name, "config": config, "action": "update"});
        match self.api.call(&call, &request).await? {
            Ok(info) => {
                tracing::info!(nats.consumer = %self.name, lease_s = self.times.lease.as_secs_f64(), "updated the consumer");
                Ok(info)
            }
            Err(refusal) => Err(refusal.error(&format!("to update consumer {}", self.name))),
        }
    }

    fn check_config(&self, config: &Value) -> Result<()> {
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
        Ok(())
    }
}

impl Slot {
    /// Up to `max` of the messages that wait here and whose lease is fresh; `None` if there are none. The others come
    /// again.
    fn take(&mut self, max: usize, lease: Duration) -> Option<Vec<Delivery>> {
        self.ready.retain(|held| held.since.elapsed() < lease / 2);
        let count = max.min(self.ready.len());
        (count > 0).then(|| self.ready.drain(..count).map(|held| held.delivery).collect())
    }
}

/// What waits for each of the dispatcher's consumers, by subject. For the server, a message that waits after a nak is
/// still in flight.
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
            return Ok(all);
        }
    }
}
