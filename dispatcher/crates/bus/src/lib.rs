//! Where events come from: `JetStream`, or a durable queue in an `SQLite` file with the same semantics.
//!
//! The bus moves bytes and headers and does not know `CloudEvents`. Delivery is at least once: [`Bus::fetch`] leases
//! a message, [`Delivery::in_progress`] keeps it, and an answer of the [`Delivery`] ends it. If the lease ends
//! without an answer, the message comes again. Variables: see [`Settings`].
//!
//! ```
//! use bus::{Access, Bus, Message, Settings};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let settings = Settings::embedded(folder.path().join("queue.db"));
//! let bus = Bus::open(&settings, Access::Consume).await?;
//! bus.ensure_subjects(&["order-placed".to_owned()].into()).await?;
//!
//! let message = Message { subject: "order-placed".to_owned(), payload: "an event".into(), ..Message::default() };
//! bus.publish(message).await?;
//! for delivery in bus.fetch("order-placed", 10).await? {
//!     assert_eq!(delivery.payload, "an event");
//!     delivery.ack().await?;
//! }
//! bus.close().await;
//! # Ok(())
//! # }
//! ```

mod budget;
mod dead_letter;
mod delivery;
mod embedded;
mod error;
mod fetch_health;
mod jetstream;
mod message;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use budget::LARGEST_PLANNED;
pub use dead_letter::{DeadLetter, DeadLetterInfo, Filter, Page};
pub use delivery::Delivery;
pub use embedded::Embedded;
pub use error::{Error, Result};
pub use jetstream::JetStream;
pub use message::{MESSAGE_ID, Message, REPLAY, Receipt};
pub use settings::{Kind, Secret, Settings};

/// By default, how long a fetch waits for a message before it returns without one.
pub const HEARTBEAT: Duration = Duration::from_secs(3);

/// How long a delivery stays ours without a sign of life. What a killed dispatcher had taken comes again after this
/// time.
pub const LEASE: Duration = Duration::from_secs(4);

/// One connection to the events. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Bus {
    /// NATS `JetStream`.
    JetStream(JetStream),
    /// A queue in an `SQLite` file.
    Embedded(Embedded),
}

/// What a process needs the bus for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Take messages. The embedded queue has one such process at a time.
    Consume,
    /// Publish, and manage dead letters, while another process consumes.
    Visit,
}

/// How much waits on one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The subject.
    pub subject: String,
    /// Messages that were not taken yet, or that wait to be delivered again.
    pub waiting: u64,
    /// Messages taken and not answered.
    pub in_flight: u64,
    /// When the oldest waiting message was published; `None` if none waits.
    pub oldest: Option<DateTime<Utc>>,
}

/// Whether the bus works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is wrong, in one sentence; `None` if it is healthy.
    pub problem: Option<String>,
}

impl Bus {
    /// Connects, and checks streams or file. Waits up to [`Settings::nats_connect_timeout`] for a server that is not
    /// up yet.
    pub async fn open(settings: &Settings, access: Access) -> Result<Self> {
        match settings.bus {
            Kind::JetStream => JetStream::open(settings).await.map(Self::JetStream),
            Kind::Embedded => Embedded::open(settings, access).await.map(Self::Embedded),
        }
    }

    /// Makes the bus keep messages of these subjects, from now on and for every process. It adds subjects and never
    /// removes any.
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
    /// Everything taken needs room in one budget of bytes, and this call waits for that room first.
    /// [`Delivery::let_go`] or the end of the delivery gives it back. The process may hold only one message that is
    /// larger than [`LARGEST_PLANNED`], so answer such a message at once.
    ///
    /// Safe to cancel: what was taken for a dropped call is given to the next one, or handed back. One call at a time
    /// for each subject; a second one waits for the first.
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

    /// Copies a delivery whole to the dead letters. It is durable when this returns, and stored once for the same
    /// message, however often this is called. The delivery still needs its answer: [`Delivery::term`].
    pub async fn dead_letter(&self, delivery: &Delivery, info: &DeadLetterInfo) -> Result<()> {
        let letter = dead_letter::compose(delivery, info);
        match self {
            Self::JetStream(bus) => bus.dead_letter(letter).await,
            Self::Embedded(bus) => bus.dead_letter(letter).await,
        }
    }

    /// Those of these message ids of one subject, all published at `since` or later, that the bus does not keep.
    pub async fn missing(
        &self,
        subject: &str,
        since: DateTime<Utc>,
        ids: BTreeSet<String>,
    ) -> Result<BTreeSet<String>> {
        match self {
            Self::JetStream(bus) => bus.missing(subject, since, ids).await,
            Self::Embedded(bus) => bus.missing(subject, ids).await,
        }
    }

    /// Records for every process how many attempts this event had so far. The delivery still needs its answer.
    pub async fn record_attempts(&self, delivery: &Delivery, attempts: u64) -> Result<()> {
        match self {
            Self::JetStream(bus) => bus.record_attempts(delivery, attempts).await,
            Self::Embedded(bus) => bus.record_attempts(delivery, attempts).await,
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
    /// it. `None` if there is no such dead letter. A crash in between leaves it in place; a second replay is then a
    /// duplicate inside the duplicate window.
    pub async fn replay(&self, number: u64) -> Result<Option<Receipt>> {
        let Some(letter) = self.dead_letter_by_number(number).await? else { return Ok(None) };
        if letter.subject.is_empty() {
            return Err(Error::Refused(format!(
                "dead letter {number} can only be dropped: {}",
                letter.info.failure.message
            )));
        }
        let receipt = match self.publish(letter.replayed(true)).await {
            Err(Error::Refused(_)) => self.publish(letter.replayed(false)).await?,
            published => published?,
        };
        self.drop_dead_letter(number).await?;
        Ok(Some(receipt))
    }

    /// Removes a dead letter for good. `false` if there is none with this number.
    pub async fn drop_dead_letter(&self, number: u64) -> Result<bool> {
        match self {
            Self::JetStream(bus) => bus.drop_dead_letter(number).await,
            Self::Embedded(bus) => bus.drop_dead_letter(number).await,
        }
    }

    /// What waits and what is in flight, for each subject that any dispatcher has fetched.
    pub async fn backlog(&self) -> Result<Vec<Backlog>> {
        match self {
            Self::JetStream(bus) => bus.backlog().await,
            Self::Embedded(bus) => bus.backlog().await,
        }
    }

    /// Healthy means that the bus answers, and every fetch is answered within `within`, even if only with "no
    /// messages".
    pub async fn check(&self, within: Duration) -> Health {
        match self {
            Self::JetStream(bus) => bus.check(within).await,
            Self::Embedded(bus) => bus.check(within).await,
        }
    }

    /// Its name in metrics and pages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::JetStream(_) => "jetstream",
            Self::Embedded(_) => "embedded",
        }
    }

    /// Hands back what was taken for cancelled fetches, and closes. Answer all deliveries first.
    pub async fn close(&self) {
        match self {
            Self::JetStream(bus) => bus.close().await,
            Self::Embedded(bus) => bus.close().await,
        }
    }
}
