//! One message taken from the bus, and the answers to it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::Result;
use super::budget::Room;
use super::message::{REPLAY, header};

/// A leased message. If it is dropped without an answer, the lease ends and the message comes again.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The subject that it was published on.
    pub subject: String,
    /// All headers as published; `Nats-Msg-Id` is the id of the message.
    pub headers: Vec<(String, String)>,
    /// The bytes as published.
    pub payload: Bytes,
    /// When the bus stored it.
    pub published_at: DateTime<Utc>,
    /// Its number in the stream.
    pub sequence: u64,
    /// How often it was delivered, including this time.
    pub delivery_count: u64,
    /// How many attempts it had before, as recorded by [`super::Bus::record_attempts`].
    pub attempts: u64,
    /// How often it was replayed from the dead letters.
    pub replay: u32,
    /// How long it stays ours without [`Delivery::in_progress`]. Call that after a third of this time.
    pub lease: Duration,
    pub(super) answers: Arc<dyn Answers>,
    /// The room that its bytes take.
    pub(super) room: Option<Arc<Room>>,
}

/// An answer to the bus about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Still at work on it.
    InProgress,
    /// Handled.
    Ack,
    /// Deliver it again after this time.
    Nak(Duration),
    /// Given up.
    Term,
}

/// Where answers go; each bus has its own way.
pub(super) trait Answers: Send + Sync + std::fmt::Debug {
    fn answer(&self, answer: Reply) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>;
}

impl Delivery {
    /// Headers and payload.
    pub fn size(&self) -> usize {
        super::message::size(&self.headers, &self.payload)
    }

    /// Frees headers and payload, when only the answer is still to come.
    pub fn let_go(&mut self) {
        self.headers = Vec::new();
        self.payload = Bytes::new();
        self.room = None;
    }

    /// Renews the lease. Does nothing if it is already lost.
    pub async fn in_progress(&self) -> Result<()> {
        self.answers.answer(Reply::InProgress).await
    }

    /// Handled: it never comes again once this returns.
    pub async fn ack(&self) -> Result<()> {
        self.answers.answer(Reply::Ack).await
    }

    /// Hands it back, so that it comes again after `delay`.
    pub async fn nak(&self, delay: Duration) -> Result<()> {
        self.answers.answer(Reply::Nak(delay)).await
    }

    /// Given up: never comes again. Copy it to the dead letters first ([`super::Bus::dead_letter`]).
    pub async fn term(&self) -> Result<()> {
        self.answers.answer(Reply::Term).await
    }
}

/// The number of replays in the headers of a message.
pub(super) fn replay_count(headers: &[(String, String)]) -> u32 {
    header(headers, REPLAY).and_then(|count| count.parse().ok()).unwrap_or(0)
}
