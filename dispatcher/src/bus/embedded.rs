//! The bus in one `SQLite` file: for the first run, development and tests without a broker. The same semantics as
//! `JetStream`: publishes are durable when they return and dropped when their id was seen, deliveries are leased and
//! come again, dead letters are kept whole.
//!
//! One process consumes, and holds `<file>.lock` while it does; the system frees the lock when that process dies, and
//! the next one takes back its leases. Other processes may visit at any time: publish, list, show, replay and drop
//! dead letters. What they publish is seen by the consuming process within a quarter of a second.

mod file;
mod store;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use sqlx::SqlitePool;
use tokio::time::Instant;

use super::dead_letter::Letter;
use super::delivery::{self, replay_count};
use super::fetches::Fetches;
use super::{Access, Backlog, DeadLetter, Delivery, Error, Filter, Health, Message, Page, Receipt, Result};
use file::Lock;
use store::{Action, Answer, Leased};
use writer::Writer;

/// Largest message, headers included: what a NATS server takes by default.
const MAX_MESSAGE: usize = 1024 * 1024;

/// An open queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Embedded {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    writer: Writer,
    readers: SqlitePool,
    lease: Duration,
    heartbeat: Duration,
    /// Held by the process that consumes.
    lock: Mutex<Option<Lock>>,
    fetches: Fetches,
}

/// The answers to one delivery.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    writer: Writer,
    sequence: i64,
    attempt: i64,
    lease: Duration,
}

impl Embedded {
    pub(super) async fn open(settings: &super::Settings, access: Access) -> Result<Self> {
        let path = settings.queue.clone();
        let lock = match access {
            Access::Consume => Some(Lock::take(&path)?),
            Access::Visit => None,
        };
        let mut connection = file::open(&path).await?;
        if lock.is_some() {
            store::take_back_leases(&mut connection).await.map_err(|error| unavailable(&path, &error))?;
        }
        let readers = file::readers(&path);
        let writer = Writer::start(connection, path.clone(), settings.duplicate_window, lock.is_some());
        let lock = Mutex::new(lock);
        let inner = Inner {
            path,
            writer,
            readers,
            lease: settings.lease,
            heartbeat: settings.heartbeat,
            lock,
            fetches: Fetches::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) async fn ensure_subjects(&self, subjects: &BTreeSet<String>) -> Result<()> {
        for subject in subjects {
            super::message::check_subject(subject)?;
        }
        self.inner.writer.run(Action::Subjects(subjects.iter().cloned().collect())).await.map(drop)
    }

    pub(super) async fn subjects(&self) -> Result<Vec<String>> {
        store::subjects(&self.inner.readers).await.map_err(|error| self.unavailable(&error))
    }

    pub(super) async fn fetch(&self, subject: &str, max: usize) -> Result<Vec<Delivery>> {
        if self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Err(Error::Configuration(format!(
                "the queue {} was opened to visit, not to consume",
                self.inner.path.display()
            )));
        }
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let deadline = Instant::now() + self.inner.heartbeat;
        let news = self.inner.writer.news(subject);
        let asked = self.inner.fetches.begin(subject);
        loop {
            // Listen before looking, so that a message published in between is not missed.
            let mut published = std::pin::pin!(news.notified());
            published.as_mut().enable();
            let lease = Action::Lease { subject: subject.to_owned(), max, lease: self.inner.lease };
            let leased = match self.inner.writer.run(lease).await {
                Ok(Answer::Leased(leased)) => leased,
                Ok(_) => return Ok(Vec::new()),
                Err(error) => {
                    asked.ended(false);
                    return Err(error);
                }
            };
            asked.answered();
            let due = leased.next_due.map(|due| Instant::now() + due);
            let deliveries = self.deliveries(leased);
            if !deliveries.is_empty() || Instant::now() >= deadline {
                return Ok(deliveries);
            }
            let wake = due.map_or(deadline, |due| due.min(deadline));
            let _ = tokio::time::timeout_at(wake, published).await;
        }
    }

    pub(super) async fn publish(&self, message: Message) -> Result<Receipt> {
        let headers = message.checked_headers()?;
        let size = message.payload.len()
            + headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if size > MAX_MESSAGE {
            return Err(Error::Refused(format!(
                "the message has {size} bytes; the queue takes up to {MAX_MESSAGE}"
            )));
        }
        let id = super::message::header(&headers, super::MESSAGE_ID).map(str::to_owned);
        let Message { subject, payload, .. } = message;
        match self.inner.writer.run(Action::Publish { subject, id, headers, payload }).await? {
            Answer::Stored(receipt) => Ok(receipt),
            Answer::UnknownSubject(subject) => Err(Error::Unavailable(format!(
                "the queue {} does not take subject {subject}: no dispatcher has added it",
                self.inner.path.display()
            ))),
            _ => Err(self.closed()),
        }
    }

    pub(super) async fn dead_letter(&self, letter: Letter) -> Result<()> {
        self.inner.writer.run(Action::DeadLetter(letter)).await.map(drop)
    }

    pub(super) async fn dead_letters(&self, filter: &Filter) -> Result<Page> {
        store::dead_letters(&self.inner.readers, filter).await.map_err(|error| self.unavailable(&error))
    }

    pub(super) async fn dead_letter_by_number(&self, number: u64) -> Result<Option<DeadLetter>> {
        let found = store::dead_letter(&self.inner.readers, number).await;
        found.map_err(|error| self.unavailable(&error))?.transpose()
    }

    pub(super) async fn dead_letter_counts(&self) -> Result<BTreeMap<String, u64>> {
        store::dead_letter_counts(&self.inner.readers).await.map_err(|error| self.unavailable(&error))
    }

    pub(super) async fn drop_dead_letter(&self, number: u64) -> Result<bool> {
        let number = i64::try_from(number).unwrap_or(-1);
        Ok(matches!(self.inner.writer.run(Action::DropDeadLetter(number)).await?, Answer::Changed(true)))
    }

    pub(super) async fn backlog(&self) -> Result<Vec<Backlog>> {
        store::backlog(&self.inner.readers).await.map_err(|error| self.unavailable(&error))
    }

    pub(super) async fn check(&self, within: Duration) -> Health {
        let problem = self.subjects().await.err().map(|error| error.to_string());
        Health { problem: problem.or_else(|| self.inner.fetches.late(within)) }
    }

    pub(super) async fn close(&self) {
        let _ = self.inner.writer.run(Action::Close).await;
        self.inner.readers.close().await;
        self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn deliveries(&self, mut leased: Leased) -> Vec<Delivery> {
        let delivery = |row: store::Row| Delivery {
            subject: row.subject,
            replay: replay_count(&row.headers.0),
            headers: row.headers.0,
            payload: row.payload.into(),
            published_at: DateTime::from_timestamp_micros(row.published_at).unwrap_or_default(),
            sequence: row.sequence.unsigned_abs(),
            attempt: row.attempt.unsigned_abs(),
            lease: self.inner.lease,
            handle: delivery::Handle::Embedded(Handle {
                writer: self.inner.writer.clone(),
                sequence: row.sequence,
                attempt: row.attempt,
                lease: self.inner.lease,
            }),
        };
        leased.claim().into_iter().map(delivery).collect()
    }

    fn unavailable(&self, error: &sqlx::Error) -> Error {
        unavailable(&self.inner.path, error)
    }

    fn closed(&self) -> Error {
        Error::Unavailable(format!("the queue {} is closed", self.inner.path.display()))
    }
}

impl Handle {
    pub(super) async fn in_progress(&self) -> Result<()> {
        let Self { sequence, attempt, lease, .. } = *self;
        self.writer.run(Action::Renew { sequence, attempt, lease }).await.map(drop)
    }

    pub(super) async fn done(&self) -> Result<()> {
        self.writer.run(Action::Done(self.sequence)).await.map(drop)
    }

    pub(super) async fn nak(&self, delay: Duration) -> Result<()> {
        let Self { sequence, attempt, .. } = *self;
        self.writer.run(Action::Nak { sequence, attempt, delay }).await.map(drop)
    }
}

fn unavailable(path: &std::path::Path, error: &sqlx::Error) -> Error {
    Error::Unavailable(format!("the queue {} does not work: {error}", path.display()))
}
