//! Where events come from: `JetStream`, or a durable queue in an `SQLite` file with the same semantics.
//!
//! The bus moves bytes and headers and knows nothing of `CloudEvents`. Delivery is at least once: a message is leased by
//! [`Bus::fetch`], kept by [`Delivery::in_progress`], and ends by an answer of its [`Delivery`]; an unanswered lease
//! runs out and the message comes again. Variables: see [`Settings`].

mod dead_letter;
mod delivery;
mod embedded;
mod error;
mod fetches;
mod jetstream;
mod message;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use dead_letter::{DeadLetter, DeadLetterInfo, Filter, Page};
pub use delivery::Delivery;
pub use embedded::Embedded;
pub use error::{Error, Result};
pub use jetstream::JetStream;
pub use message::{MESSAGE_ID, Message, REPLAY, Receipt};
pub use settings::{Kind, Secret, Settings};

/// How long a fetch waits for a message before it comes back with none, by default.
pub const HEARTBEAT: Duration = Duration::from_secs(3);

/// How long a delivery stays ours without a sign of life.
pub const LEASE: Duration = Duration::from_secs(30);

/// One connection to the events. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Bus {
    /// NATS `JetStream`.
    JetStream(JetStream),
    /// A queue in an `SQLite` file.
    Embedded(Embedded),
}

/// What a process wants of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Take messages. The embedded queue has one such process at a time.
    Consume,
    /// Publish, and look after dead letters, beside a process that consumes.
    Visit,
}

/// How much waits on one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The subject.
    pub subject: String,
    /// Messages nobody has taken yet, or that wait for their next attempt.
    pub waiting: u64,
    /// Messages taken and not answered.
    pub in_flight: u64,
    /// When the oldest of those that wait was published; `None` where nothing waits.
    pub oldest: Option<DateTime<Utc>>,
}

/// Whether the bus works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is wrong, in one sentence; `None` is healthy.
    pub problem: Option<String>,
}

impl Bus {
    /// Connects and checks what is there. Waits for a server that is not up yet, up to
    /// [`Settings::nats_connect_timeout`].
    pub async fn open(settings: &Settings, access: Access) -> Result<Self> {
        match settings.bus {
            Kind::JetStream => JetStream::open(settings).await.map(Self::JetStream),
            Kind::Embedded => Embedded::open(settings, access).await.map(Self::Embedded),
        }
    }

    /// Makes the bus keep messages of these subjects, from now on and for every process. Adds, never removes.
    pub async fn ensure_subjects(&self, subjects: &BTreeSet<String>) -> Result<()> {
        match self {
            Self::JetStream(bus) => bus.ensure_subjects(subjects).await,
            Self::Embedded(bus) => bus.ensure_subjects(subjects).await,
        }
    }

    /// The subjects that the bus keeps, sorted.
    pub async fn subjects(&self) -> Result<Vec<String>> {
        match self {
            Self::JetStream(bus) => bus.subjects().await,
            Self::Embedded(bus) => bus.subjects().await,
        }
    }

    /// Takes up to `max` messages of one subject; waits up to [`Settings::heartbeat`] for the first, then returns none.
    ///
    /// Safe to cancel: what was taken for a dropped call is handed to the next one, or goes back. One call at a time
    /// for each subject; a second waits for the first.
    pub async fn fetch(&self, subject: &str, max: usize) -> Result<Vec<Delivery>> {
        match self {
            Self::JetStream(bus) => bus.fetch(subject, max).await,
            Self::Embedded(bus) => bus.fetch(subject, max).await,
        }
    }

    /// Publishes; durable when it returns.
    pub async fn publish(&self, message: Message) -> Result<Receipt> {
        match self {
            Self::JetStream(bus) => bus.publish(message).await,
            Self::Embedded(bus) => bus.publish(message).await,
        }
    }

    /// Copies a delivery whole to the dead letters; durable when it returns, and once however often it is called for
    /// the same message. The delivery itself still wants its answer: [`Delivery::term`].
    pub async fn dead_letter(&self, delivery: &Delivery, info: &DeadLetterInfo) -> Result<()> {
        let letter = dead_letter::compose(delivery, info);
        match self {
            Self::JetStream(bus) => bus.dead_letter(letter).await,
            Self::Embedded(bus) => bus.dead_letter(letter).await,
        }
    }

    /// One page of the dead letters, oldest first.
    pub async fn dead_letters(&self, filter: &Filter) -> Result<Page> {
        match self {
            Self::JetStream(bus) => bus.dead_letters(filter).await,
            Self::Embedded(bus) => bus.dead_letters(filter).await,
        }
    }

    /// One dead letter by its number.
    pub async fn dead_letter_by_number(&self, number: u64) -> Result<Option<DeadLetter>> {
        match self {
            Self::JetStream(bus) => bus.dead_letter_by_number(number).await,
            Self::Embedded(bus) => bus.dead_letter_by_number(number).await,
        }
    }

    /// How many dead letters there are.
    pub async fn dead_letter_count(&self) -> Result<u64> {
        Ok(self.dead_letter_counts().await?.values().sum())
    }

    /// How many dead letters there are of each subject that has any.
    pub async fn dead_letter_counts(&self) -> Result<BTreeMap<String, u64>> {
        match self {
            Self::JetStream(bus) => bus.dead_letter_counts().await,
            Self::Embedded(bus) => bus.dead_letter_counts().await,
        }
    }

    /// Publishes a dead letter again on its first subject, with a new message id and a `Replay` header, and removes
    /// it. `None` when there is no such dead letter. A crash in between leaves it in place, and its second replay is
    /// a duplicate inside the duplicate window.
    pub async fn replay(&self, number: u64) -> Result<Option<Receipt>> {
        let Some(letter) = self.dead_letter_by_number(number).await? else { return Ok(None) };
        let receipt = self.publish(letter.replayed()).await?;
        self.drop_dead_letter(number).await?;
        Ok(Some(receipt))
    }

    /// Removes a dead letter for good. `false` when there is none of this number.
    pub async fn drop_dead_letter(&self, number: u64) -> Result<bool> {
        match self {
            Self::JetStream(bus) => bus.drop_dead_letter(number).await,
            Self::Embedded(bus) => bus.drop_dead_letter(number).await,
        }
    }

    /// What waits and what is in flight, for each subject that any dispatcher has fetched, by subject.
    pub async fn backlog(&self) -> Result<Vec<Backlog>> {
        match self {
            Self::JetStream(bus) => bus.backlog().await,
            Self::Embedded(bus) => bus.backlog().await,
        }
    }

    /// Healthy means: the bus answers, and no fetch has waited for its answer longer than `within`, be it that there is nothing.
    pub async fn check(&self, within: Duration) -> Health {
        match self {
            Self::JetStream(bus) => bus.check(within).await,
            Self::Embedded(bus) => bus.check(within).await,
        }
    }

    /// The word for metrics and pages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::JetStream(_) => "jetstream",
            Self::Embedded(_) => "embedded",
        }
    }

    /// Hands back what was taken for fetches that are gone, and closes. Answer deliveries before.
    pub async fn close(&self) {
        match self {
            Self::JetStream(bus) => bus.close().await,
            Self::Embedded(bus) => bus.close().await,
        }
    }
}
