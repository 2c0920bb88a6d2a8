//! The bus in one `SQLite` file: for the first run, development and tests without a broker. It has the semantics of
//! `JetStream`: a publish is durable when it returns, and is dropped if its id is already known; deliveries are
//! leased and come again; dead letters are kept whole.
//!
//! One process consumes, and holds `<file>.lock` meanwhile. The system frees the lock when that process dies, and the
//! next one takes back its leases. Other processes may open the file at any time to publish, and to list, show,
//! replay and drop dead letters. The consuming process sees what they publish within a quarter of a second.

mod file;
mod store;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use parking_lot::Mutex;
use shared::config::shown;
use sqlx::SqlitePool;
use tokio::time::Instant;

use super::budget::{Budget, Room};
use super::dead_letter::Letter;
use super::delivery::{Answers, Reply, replay_count};
use super::fetch_health::FetchHealth;
use super::{Access, Backlog, DeadLetter, Delivery, Error, Filter, Health, Message, Page, Receipt, Result};
use file::Lock;
use store::{Action, Answer, Leased};
use writer::Writer;

/// The largest message, headers included: the default of a NATS server.
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
    fetches: FetchHealth,
    budget: Budget,
}

/// The answers to one delivery.
#[derive(Clone, Debug)]
struct Handle {
    writer: Writer,
    sequence: i64,
    delivery_count: i64,
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
            fetches: FetchHealth::default(),
            budget: Budget::default(),
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
        if self.inner.lock.lock().is_none() {
            return Err(Error::Configuration(format!(
                "the queue {} was opened to visit, not to consume",
                shown(&self.inner.path)
            )));
        }
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let deadline = Instant::now() + self.inner.heartbeat;
        let news = self.inner.writer.news(subject);
        let mut alone = false;
        loop {
            let mut room = self.inner.budget.room(subject, alone).await;
            let asked = self.inner.fetches.begin(subject);
            // Listen before looking, so that no message published in between is missed.
            let mut published = std::pin::pin!(news.notified());
            published.as_mut().enable();
            let lease = Action::Lease {
                subject: subject.to_owned(),
                max: if alone { max.min(1) } else { max },
                bytes: room.limit(),
                lease: self.inner.lease,
            };
            let leased = match self.inner.writer.run(lease).await {
                Ok(Answer::Leased(leased)) => leased,
                Ok(_) => return Ok(Vec::new()),
                Err(error) => {
                    asked.ended(false);
                    return Err(error);
                }
            };
            asked.ended(true);
            // No message came, because the next one is larger than this room.
            alone = leased.too_large;
            let due = leased.next_due.map(|due| Instant::now() + due);
            let deliveries = self.deliveries(leased, &mut room);
            drop(room);
            if !deliveries.is_empty() || (Instant::now() >= deadline && !alone) {
                return Ok(deliveries);
            }
            if alone {
                continue;
            }
            let wake = due.map_or(deadline, |due| due.min(deadline));
            let _ = tokio::time::timeout_at(wake, published).await;
        }
    }

    pub(super) async fn publish(&self, message: Message) -> Result<Receipt> {
        let headers = message.checked_headers()?;
        let size = super::message::size(&headers, &message.payload);
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
                shown(&self.inner.path)
            ))),
            _ => Err(self.closed()),
        }
    }

    pub(super) async fn dead_letter(&self, letter: Letter) -> Result<()> {
        self.inner.writer.run(Action::DeadLetter(letter)).await.map(drop)
    }

    pub(super) async fn missing(&self, subject: &str, mut ids: BTreeSet<String>) -> Result<BTreeSet<String>> {
        let kept =
            store::ids(&self.inner.readers, subject).await.map_err(|error| self.unavailable(&error))?;
        ids.retain(|id| !kept.contains(id));
        Ok(ids)
    }

    pub(super) async fn record_attempts(&self, delivery: &Delivery, attempts: u64) -> Result<()> {
        let number = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let action = Action::Attempts { sequence: number(delivery.sequence), attempts: number(attempts) };
        self.inner.writer.run(action).await.map(drop)
    }

    pub(super) async fn dead_letters(&self, filter: &Filter) -> Result<Page> {
        store::dead_letters(&self.inner.readers, filter).await.map_err(|error| self.unavailable(&error))
    }

    pub(super) async fn dead_letter_by_number(&self, number: u64) -> Result<Option<DeadLetter>> {
        let found = store::dead_letter(&self.inner.readers, number).await;
        found.map_err(|error| self.unavailable(&error))
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
        self.inner.lock.lock().take();
    }

    fn deliveries(&self, mut leased: Leased, room: &mut Room) -> Vec<Delivery> {
        let delivery = |row: store::Row| Delivery {
            room: Some(Arc::new(room.part(super::message::size(&row.headers.0, &row.payload)))),
            subject: row.subject,
            replay: replay_count(&row.headers.0),
            headers: row.headers.0,
            payload: row.payload.into(),
            published_at: DateTime::from_timestamp_micros(row.published_at).unwrap_or_default(),
            sequence: row.sequence.unsigned_abs(),
            delivery_count: row.delivery_count.unsigned_abs(),
            attempts: row.attempts.unsigned_abs(),
            lease: self.inner.lease,
            answers: Arc::new(Handle {
                writer: self.inner.writer.clone(),
                sequence: row.sequence,
                delivery_count: row.delivery_count,
                lease: self.inner.lease,
            }),
        };
        leased.claim().into_iter().map(delivery).collect()
    }

    fn unavailable(&self, error: &sqlx::Error) -> Error {
        unavailable(&self.inner.path, error)
    }

    fn closed(&self) -> Error {
        Error::Unavailable(format!("the queue {} is closed", shown(&self.inner.path)))
    }
}

impl Answers for Handle {
    fn answer(&self, answer: Reply) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        let Self { sequence, delivery_count, lease, .. } = *self;
        let action = match answer {
            Reply::InProgress => Action::Renew { sequence, lease },
            Reply::Ack | Reply::Term => Action::Done(sequence),
            Reply::Nak(delay) => Action::Nak { sequence, delivery_count, delay },
        };
        Box::pin(async move { self.writer.run(action).await.map(drop) })
    }
}

fn unavailable(path: &std::path::Path, error: &sqlx::Error) -> Error {
    Error::Unavailable(format!("the queue {} does not work: {error}", shown(path)))
}
