//! One message taken from the bus, and the answers to it.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::message::{REPLAY, header};
use super::{Result, embedded, jetstream};

/// A leased message. Dropping it without an answer lets the lease run out: it comes again.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where it was published.
    pub subject: String,
    /// All headers as published; the id of the message is `Nats-Msg-Id`.
    pub headers: Vec<(String, String)>,
    /// The bytes as published.
    pub payload: Bytes,
    /// When the bus took it.
    pub published_at: DateTime<Utc>,
    /// Its number in the stream.
    pub sequence: u64,
    /// How often it was delivered, this time included.
    pub attempt: u64,
    /// How often it came back from the dead letters.
    pub replay: u32,
    /// How long it stays ours without [`Delivery::in_progress`]; call that at a third of it.
    pub lease: Duration,
    pub(super) handle: Handle,
}

#[derive(Clone, Debug)]
pub(super) enum Handle {
    JetStream(jetstream::Handle),
    Embedded(embedded::Handle),
}

impl Delivery {
    /// Renews the lease. Nothing happens if it is lost already.
    pub async fn in_progress(&self) -> Result<()> {
        match &self.handle {
            Handle::JetStream(handle) => handle.in_progress().await,
            Handle::Embedded(handle) => handle.in_progress().await,
        }
    }

    /// Done: never comes again once this returns.
    pub async fn ack(&self) -> Result<()> {
        match &self.handle {
            Handle::JetStream(handle) => handle.ack().await,
            Handle::Embedded(handle) => handle.done().await,
        }
    }

    /// Give it back, to come again after `delay`.
    pub async fn nak(&self, delay: Duration) -> Result<()> {
        match &self.handle {
            Handle::JetStream(handle) => handle.nak(delay).await,
            Handle::Embedded(handle) => handle.nak(delay).await,
        }
    }

    /// Given up: never comes again. Copy it to the dead letters first ([`super::Bus::dead_letter`]).
    pub async fn term(&self) -> Result<()> {
        match &self.handle {
            Handle::JetStream(handle) => handle.term().await,
            Handle::Embedded(handle) => handle.done().await,
        }
    }
}

/// The replay count in the headers of a message.
pub(super) fn replay_count(headers: &[(String, String)]) -> u32 {
    header(headers, REPLAY).and_then(|count| count.parse().ok()).unwrap_or(0)
}
