//! The SQL of the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::dead_letter::{self, Letter, PAGE_BYTES};
use crate::message::header;
use crate::{Backlog, DeadLetter, Filter, MESSAGE_ID, Page, Receipt, Result};

type Sql<T> = std::result::Result<T, sqlx::Error>;

/// How many ids are forgotten at once, so that no transaction takes long.
const FORGET: i64 = 20_000;

/// How many letters one page looks at. If a filter matches few of them, the page is short and says where to continue.
const LOOKS: i64 = 1_000;

/// An action and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) action: Action,
    pub(super) answer: oneshot::Sender<Result<Answer>>,
}

/// Something to write.
#[derive(Debug)]
pub(super) enum Action {
    Subjects(Vec<String>),
    Publish {
        subject: String,
        id: Option<String>,
        headers: Vec<(String, String)>,
        payload: Bytes,
    },
    Lease {
        subject: String,
        max: i64,
        /// At most this many bytes in total; `None` means no limit.
        bytes: Option<usize>,
        lease: Duration,
    },
    Renew {
        sequence: i64,
        lease: Duration,
    },
    Nak {
        sequence: i64,
        delivery_count: i64,
        delay: Duration,
    },
    Attempts {
        sequence: i64,
        attempts: i64,
    },
    Done(i64),
    /// Leases that no caller received, by sequence and delivery: undone as if they had never been taken.
    GiveBack(Vec<(i64, i64)>),
    DeadLetter(Letter),
    DropDeadLetter(i64),
    Close,
}

/// The result of an action.
#[derive(Debug)]
pub(super) enum Answer {
    Stored(Receipt),
    UnknownSubject(String),
    Leased(Leased),
    Changed(bool),
}

/// Leased messages on their way to a caller. If they are dropped before they arrive, they are given back.
#[derive(Debug)]
pub(super) struct Leased {
    rows: Vec<Row>,
    /// When the next message is due, if none is now.
    pub(super) next_due: Option<Duration>,
    /// Nothing was leased, because the next message has more bytes than were asked for.
    pub(super) too_large: bool,
    back: mpsc::WeakUnboundedSender<Job>,
}

/// A message as it is stored.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) sequence: i64,
    pub(super) subject: String,
    pub(super) headers: Headers,
    pub(super) payload: Vec<u8>,
    pub(super) published_at: i64,
    pub(super) delivery_count: i64,
    pub(super) attempts: i64,
}

/// Headers, as JSON in their column.
#[derive(Debug)]
pub(super) struct Headers(pub(super) Vec<(String, String)>);

impl Headers {
    fn stored(headers: &[(String, String)]) -> String {
        serde_json::json!(headers).to_string()
    }

    fn read(row: &SqliteRow) -> Sql<Self> {
        serde_json::from_str(row.try_get("headers")?)
            .map(Self)
            .map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

// Written by hand: for the derive macro, the compiler would compile the whole database client a second time.
impl FromRow<'_, SqliteRow> for Row {
    fn from_row(row: &SqliteRow) -> Sql<Self> {
        Ok(Self {
            sequence: row.try_get("sequence")?,
            subject: row.try_get("subject")?,
            headers: Headers::read(row)?,
            payload: row.try_get("payload")?,
            published_at: row.try_get("published_at")?,
            delivery_count: row.try_get("attempt")?,
            attempts: row.try_get("tries")?,
        })
    }
}

impl Leased {
    /// Hands over the messages: from now on the caller owns their leases.
    pub(super) fn claim(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        if let Some(back) = self.back.upgrade() {
            let leases = self.rows.iter().map(|row| (row.sequence, row.delivery_count)).collect();
            let (answer, _) = oneshot::channel();
            let _ = back.send(Job { action: Action::GiveBack(leases), answer });
        }
    }
}

/// Does one action inside a transaction.
pub(super) async fn run(
    connection: &mut SqliteConnection,
    action: &Action,
    window: Duration,
    back: &mpsc::WeakUnboundedSender<Job>,
) -> Sql<Answer> {
    let now = Utc::now().timestamp_micros();
    let changed = match action {
        Action::Subjects(subjects) => {
            for subject in subjects {
                let insert = sqlx::query("INSERT OR IGNORE INTO subjects (subject) VALUES (?)");
                insert.bind(subject).execute(&mut *connection).await?;
            }
            return Ok(Answer::Changed(true));
        }
        Action::Publish { subject, id, headers, payload } => {
            return publish(connection, subject, id.as_deref(), headers, payload, now, window).await;
        }
        Action::Lease { subject, max, bytes, lease } => {
            let bytes = bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(i64::MAX);
            let (rows, next_due, due) = take(connection, subject, *max, bytes, now, *lease).await?;
            let too_large = due && rows.is_empty() && *max > 0;
            return Ok(Answer::Leased(Leased { rows, next_due, too_large, back: back.clone() }));
        }
        Action::Renew { sequence, lease } => {
            let renew = "UPDATE messages SET due_at = ? WHERE sequence = ? AND leased = 1";
            sqlx::query(renew).bind(now + micros(*lease)).bind(sequence).execute(connection).await?
        }
        Action::Nak { sequence, delivery_count, delay } => {
            let nak = "UPDATE messages SET due_at = ?, leased = 0 WHERE sequence = ? AND attempt = ? AND leased = 1";
            sqlx::query(nak)
                .bind(now + micros(*delay))
                .bind(sequence)
                .bind(delivery_count)
                .execute(connection)
                .await?
        }
        Action::Attempts { sequence, attempts } => {
            let tried = "UPDATE messages SET tries = ? WHERE sequence = ?";
            sqlx::query(tried).bind(attempts).bind(sequence).execute(connection).await?
        }
        Action::Done(sequence) => {
            sqlx::query("DELETE FROM messages WHERE sequence = ?").bind(sequence).execute(connection).await?
        }
        Action::GiveBack(leases) => {
            for (sequence, delivery_count) in leases {
                let undo = "UPDATE messages SET due_at = published_at, leased = 0, attempt = attempt - 1 \
                            WHERE sequence = ? AND attempt = ? AND leased = 1";
                sqlx::query(undo).bind(sequence).bind(delivery_count).execute(&mut *connection).await?;
            }
            return Ok(Answer::Changed(true));
        }
        Action::DeadLetter(letter) => {
            let insert =
                "INSERT OR IGNORE INTO dead_letters (id, subject, headers, payload) VALUES (?, ?, ?, ?)";
            sqlx::query(insert)
                .bind(&letter.id)
                .bind(&letter.subject)
                .bind(Headers::stored(&letter.headers))
                .bind(&letter.payload[..])
                .execute(connection)
                .await?
        }
        Action::DropDeadLetter(number) => {
            sqlx::query("DELETE FROM dead_letters WHERE number = ?").bind(number).execute(connection).await?
        }
        Action::Close => return Ok(Answer::Changed(true)),
    };
    Ok(Answer::Changed(changed.rows_affected() > 0))
}

async fn publish(
    connection: &mut SqliteConnection,
    subject: &str,
    id: Option<&str>,
    headers: &[(String, String)],
    payload: &Bytes,
    now: i64,
    window: Duration,
) -> Sql<Answer> {
    if let Some(id) = id {
        let seen = sqlx::query_scalar::<_, i64>("SELECT sequence FROM seen WHERE id = ? AND at > ?");
        if let Some(sequence) =
            seen.bind(id).bind(now - micros(window)).fetch_optional(&mut *connection).await?
        {
            return Ok(Answer::Stored(Receipt { sequence: sequence.unsigned_abs(), duplicate: true }));
        }
    }
    let insert = "INSERT INTO messages (subject, headers, payload, published_at, due_at) \
                  SELECT ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM subjects WHERE subject = ?)";
    let inserted = sqlx::query(insert)
        .bind(subject)
        .bind(Headers::stored(headers))
        .bind(&payload[..])
        .bind(now)
        .bind(now)
        .bind(subject)
        .execute(&mut *connection)
        .await?;
    if inserted.rows_affected() == 0 {
        return Ok(Answer::UnknownSubject(subject.to_owned()));
    }
    let sequence = inserted.last_insert_rowid();
    if let Some(id) = id {
        let insert = sqlx::query("INSERT OR REPLACE INTO seen (id, sequence, at) VALUES (?, ?, ?)");
        insert.bind(id).bind(sequence).bind(now).execute(connection).await?;
    }
    Ok(Answer::Stored(Receipt { sequence: sequence.unsigned_abs(), duplicate: false }))
}

/// Leases due messages, oldest first, up to this many messages and bytes. If none is due, says when the next one will
/// be. Also says whether any message is due.
async fn take(
    connection: &mut SqliteConnection,
    subject: &str,
    max: i64,
    bytes: i64,
    now: i64,
    lease: Duration,
) -> Sql<(Vec<Row>, Option<Duration>, bool)> {
    let next = sqlx::query_scalar::<_, Option<i64>>("SELECT MIN(due_at) FROM messages WHERE subject = ?");
    let next = next.bind(subject).fetch_one(&mut *connection).await?;
    let fetched = "INSERT INTO subjects (subject, fetched) VALUES (?, 1) \
                   ON CONFLICT DO UPDATE SET fetched = 1 WHERE fetched = 0";
    sqlx::query(fetched).bind(subject).execute(&mut *connection).await?;
    if next.is_none_or(|due| due > now) {
        return Ok((Vec::new(), next.map(|due| Duration::from_micros((due - now).unsigned_abs())), false));
    }
    let lease_due = "UPDATE messages SET attempt = attempt + 1, due_at = ?, leased = 1 WHERE sequence IN \
                     (SELECT sequence FROM \
                     (SELECT sequence, SUM(LENGTH(headers) + LENGTH(payload)) OVER (ORDER BY due_at, leased, sequence) AS bytes FROM \
                     (SELECT * FROM messages WHERE subject = ? AND due_at <= ? ORDER BY due_at, leased, sequence LIMIT ?)) \
                     WHERE bytes <= ?) \
                     RETURNING sequence, subject, headers, payload, published_at, attempt, tries";
    let rows = sqlx::query_as::<_, Row>(lease_due)
        .bind(now + micros(lease))
        .bind(subject)
        .bind(now)
        .bind(max)
        .bind(bytes);
    let mut rows = rows.fetch_all(&mut *connection).await?;
    rows.sort_by_key(|row| row.sequence);
    Ok((rows, None, true))
}

/// Frees the leases of a process that has ended.
pub(super) async fn take_back_leases(connection: &mut SqliteConnection) -> Sql<()> {
    let update = "UPDATE messages SET leased = 0, due_at = ? WHERE leased = 1";
    sqlx::query(update).bind(Utc::now().timestamp_micros()).execute(connection).await.map(drop)
}

/// Forgets message ids older than the window.
pub(super) async fn forget_ids(connection: &mut SqliteConnection, window: Duration) -> Sql<()> {
    let delete = "DELETE FROM seen WHERE id IN (SELECT id FROM seen WHERE at <= ? LIMIT ?)";
    let oldest = Utc::now().timestamp_micros() - micros(window);
    sqlx::query(delete).bind(oldest).bind(FORGET).execute(connection).await.map(drop)
}

pub(super) async fn subjects(readers: &SqlitePool) -> Sql<Vec<String>> {
    sqlx::query_scalar("SELECT subject FROM subjects ORDER BY subject").fetch_all(readers).await
}

/// The ids of the messages that a subject has.
pub(super) async fn ids(readers: &SqlitePool, subject: &str) -> Sql<BTreeSet<String>> {
    let select = sqlx::query("SELECT headers FROM messages WHERE subject = ?").bind(subject);
    let rows = select.fetch_all(readers).await?;
    let headers = rows.iter().map(Headers::read).collect::<Sql<Vec<_>>>()?;
    Ok(headers.iter().filter_map(|headers| header(&headers.0, MESSAGE_ID).map(str::to_owned)).collect())
}

pub(super) async fn backlog(readers: &SqlitePool) -> Sql<Vec<Backlog>> {
    let count = "SELECT subjects.subject, COUNT(messages.sequence), COALESCE(SUM(leased = 1 AND due_at > ?1), 0), \
                 MIN(CASE WHEN leased = 0 OR due_at <= ?1 THEN published_at END) FROM subjects LEFT JOIN messages USING (subject) WHERE fetched = 1 GROUP BY subjects.subject";
    let rows: Vec<(String, i64, i64, Option<i64>)> =
        sqlx::query_as(count).bind(Utc::now().timestamp_micros()).fetch_all(readers).await?;
    let backlog = |(subject, all, leased, oldest): (String, i64, i64, Option<i64>)| Backlog {
        subject,
        oldest: oldest.and_then(DateTime::from_timestamp_micros),
        waiting: (all - leased).unsigned_abs(),
        in_flight: leased.unsigned_abs(),
    };
    Ok(rows.into_iter().map(backlog).collect())
}

/// Reads one row at a time, because a letter can have a mebibyte.
pub(super) async fn dead_letters(readers: &SqlitePool, filter: &Filter) -> Sql<Page> {
    let select = "SELECT number, headers, CASE WHEN ? THEN payload ELSE X'' END AS payload FROM dead_letters \
                  WHERE number > ? AND subject = COALESCE(?, subject) ORDER BY number LIMIT ?";
    let mut page = Page::default();
    let mut after = i64::try_from(filter.after).unwrap_or(i64::MAX);
    let rows = sqlx::query_as::<_, LetterRow>(select)
        .bind(filter.reads_payloads())
        .bind(after)
        .bind(&filter.subject)
        .bind(LOOKS);
    let mut rows = rows.fetch(readers);
    let (mut looks, mut bytes) = (0, 0);
    while let Some(row) = rows.try_next().await? {
        if page.letters.len() >= filter.limit || bytes > PAGE_BYTES {
            page.next = Some(after.unsigned_abs());
            return Ok(page);
        }
        after = row.number;
        looks += 1;
        if let Some(letter) = filter.apply(row.letter()) {
            bytes += letter.bytes();
            page.letters.push(letter);
        }
    }
    page.next = (looks == LOOKS).then_some(after.unsigned_abs());
    Ok(page)
}

pub(super) async fn dead_letter(readers: &SqlitePool, number: u64) -> Sql<Option<DeadLetter>> {
    let select =
        sqlx::query_as::<_, LetterRow>("SELECT number, headers, payload FROM dead_letters WHERE number = ?");
    let row = select.bind(i64::try_from(number).unwrap_or(-1)).fetch_optional(readers).await?;
    Ok(row.map(LetterRow::letter))
}

pub(super) async fn dead_letter_counts(readers: &SqlitePool) -> Sql<BTreeMap<String, u64>> {
    let select = "SELECT subject, COUNT(*) FROM dead_letters GROUP BY subject";
    let rows: Vec<(String, i64)> = sqlx::query_as(select).fetch_all(readers).await?;
    Ok(rows.into_iter().map(|(subject, count)| (subject, count.unsigned_abs())).collect())
}

struct LetterRow {
    number: i64,
    headers: Headers,
    payload: Vec<u8>,
}

impl FromRow<'_, SqliteRow> for LetterRow {
    fn from_row(row: &SqliteRow) -> Sql<Self> {
        Ok(Self {
            number: row.try_get("number")?,
            // Somebody else may have stored anything here; an operator must be able to drop it.
            headers: Headers::read(row).unwrap_or(Headers(Vec::new())),
            payload: row.try_get("payload").unwrap_or_default(),
        })
    }
}

impl LetterRow {
    fn letter(self) -> DeadLetter {
        dead_letter::parse(self.number.unsigned_abs(), self.headers.0, Bytes::from(self.payload))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}
