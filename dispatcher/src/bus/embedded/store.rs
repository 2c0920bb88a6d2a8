//! What is done to the file, in SQL.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::{FromRow, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::writer::Job;
use crate::bus::dead_letter::{self, Letter};
use crate::bus::{Backlog, DeadLetter, Filter, Page, Receipt, Result};

type Sql<T> = std::result::Result<T, sqlx::Error>;

/// How many ids are forgotten at once, so that no transaction is long.
const FORGET: i64 = 20_000;

/// How many letters one page looks at: a filter that matches little comes back with a short page and where to go on.
const LOOKS: i64 = 1_000;

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
        lease: Duration,
    },
    Renew {
        sequence: i64,
        attempt: i64,
        lease: Duration,
    },
    Nak {
        sequence: i64,
        attempt: i64,
        delay: Duration,
    },
    Done(i64),
    /// Leases that nobody saw, by sequence and attempt: as if they were never taken.
    GiveBack(Vec<(i64, i64)>),
    DeadLetter(Letter),
    DropDeadLetter(i64),
    Close,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Stored(Receipt),
    UnknownSubject(String),
    Leased(Leased),
    Changed(bool),
}

/// Leased messages on their way to a caller. Dropped on the way, they go back.
#[derive(Debug)]
pub(super) struct Leased {
    rows: Vec<Row>,
    /// When the next message is due, if none is now.
    pub(super) next_due: Option<Duration>,
    back: mpsc::WeakUnboundedSender<Job>,
}

/// A message as it is stored.
#[derive(Debug, FromRow)]
pub(super) struct Row {
    pub(super) sequence: i64,
    pub(super) subject: String,
    #[sqlx(try_from = "String")]
    pub(super) headers: Headers,
    pub(super) payload: Vec<u8>,
    pub(super) published_at: i64,
    pub(super) attempt: i64,
}

/// Headers, as JSON in their column.
#[derive(Debug)]
pub(super) struct Headers(pub(super) Vec<(String, String)>);

impl Headers {
    fn stored(headers: &[(String, String)]) -> String {
        serde_json::json!(headers).to_string()
    }
}

impl TryFrom<String> for Headers {
    type Error = serde_json::Error;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        serde_json::from_str(&text).map(Self)
    }
}

impl Leased {
    /// The messages: from here on they are the caller's.
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
            let leases = self.rows.iter().map(|row| (row.sequence, row.attempt)).collect();
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
        Action::Lease { subject, max, lease } => {
            let (rows, next_due) = take(connection, subject, *max, now, *lease).await?;
            return Ok(Answer::Leased(Leased { rows, next_due, back: back.clone() }));
        }
        Action::Renew { sequence, attempt, lease } => {
            let renew = "UPDATE messages SET due_at = ? WHERE sequence = ? AND attempt = ? AND leased = 1";
            sqlx::query(renew)
                .bind(now + micros(*lease))
                .bind(sequence)
                .bind(attempt)
                .execute(connection)
                .await?
        }
        Action::Nak { sequence, attempt, delay } => {
            let nak = "UPDATE messages SET due_at = ?, leased = 0 WHERE sequence = ? AND attempt = ? AND leased = 1";
            sqlx::query(nak)
                .bind(now + micros(*delay))
                .bind(sequence)
                .bind(attempt)
                .execute(connection)
                .await?
        }
        Action::Done(sequence) => {
            sqlx::query("DELETE FROM messages WHERE sequence = ?").bind(sequence).execute(connection).await?
        }
        Action::GiveBack(leases) => {
            for (sequence, attempt) in leases {
                let undo = "UPDATE messages SET due_at = published_at, leased = 0, attempt = attempt - 1 \
                            WHERE sequence = ? AND attempt = ? AND leased = 1";
                sqlx::query(undo).bind(sequence).bind(attempt).execute(&mut *connection).await?;
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

/// Leases what is due, oldest first; if nothing is, says when something will be.
async fn take(
    connection: &mut SqliteConnection,
    subject: &str,
    max: i64,
    now: i64,
    lease: Duration,
) -> Sql<(Vec<Row>, Option<Duration>)> {
    let next = sqlx::query_scalar::<_, Option<i64>>("SELECT MIN(due_at) FROM messages WHERE subject = ?");
    let next = next.bind(subject).fetch_one(&mut *connection).await?;
    let fetched = "INSERT INTO subjects (subject, fetched) VALUES (?, 1) \
                   ON CONFLICT DO UPDATE SET fetched = 1 WHERE fetched = 0";
    sqlx::query(fetched).bind(subject).execute(&mut *connection).await?;
    if next.is_none_or(|due| due > now) {
        return Ok((Vec::new(), next.map(|due| Duration::from_micros((due - now).unsigned_abs()))));
    }
    let lease_due = "UPDATE messages SET attempt = attempt + 1, due_at = ?, leased = 1 WHERE sequence IN \
                     (SELECT sequence FROM messages WHERE subject = ? AND due_at <= ? ORDER BY due_at, leased, sequence LIMIT ?) \
                     RETURNING sequence, subject, headers, payload, published_at, attempt";
    let rows =
        sqlx::query_as::<_, Row>(lease_due).bind(now + micros(lease)).bind(subject).bind(now).bind(max);
    let mut rows = rows.fetch_all(&mut *connection).await?;
    rows.sort_by_key(|row| row.sequence);
    Ok((rows, None))
}

/// The process that held these leases is gone.
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

/// One row at a time: a letter may be a mebibyte.
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
    let mut looks = 0;
    while let Some(row) = rows.try_next().await? {
        if page.letters.len() >= filter.limit {
            page.next = Some(after.unsigned_abs());
            return Ok(page);
        }
        after = row.number;
        looks += 1;
        match row.letter() {
            Ok(letter) => page.letters.extend(filter.apply(letter)),
            Err(error) => tracing::warn!("dead letter {after}: {error}"),
        }
    }
    page.next = (looks == LOOKS).then_some(after.unsigned_abs());
    Ok(page)
}

pub(super) async fn dead_letter(readers: &SqlitePool, number: u64) -> Sql<Option<Result<DeadLetter>>> {
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

#[derive(FromRow)]
struct LetterRow {
    number: i64,
    #[sqlx(try_from = "String")]
    headers: Headers,
    payload: Vec<u8>,
}

impl LetterRow {
    fn letter(self) -> Result<DeadLetter> {
        dead_letter::parse(self.number.unsigned_abs(), self.headers.0, Bytes::from(self.payload))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}
