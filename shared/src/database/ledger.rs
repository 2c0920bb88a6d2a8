//! The ledger of handled events with its outbox: what makes twice the same as once.
//!
//! On a server the entry is inserted first, in the open transaction, so that a twin of this run waits for it. An SQLite
//! file locks as a whole: there the ledger is only read first, and the transaction begins after the outside effect.

use chrono::Utc;
use uuid::Uuid;

use super::{Connection, Failure, Value, rows};
use crate::error::Result;
use crate::event::Outgoing;

/// What is entered: this step handled this event about this subject.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The step's name.
    pub step: &'a str,
    /// The causing event's id.
    pub event_id: &'a str,
    /// The customer or user it is about; people who publish by hand use one id for many.
    pub subject: Uuid,
    /// The customer.
    pub customer: Uuid,
}

/// The answer to a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// Not handled before.
    New,
    /// Handled before; these events followed.
    Handled(Vec<Outgoing>),
}

/// Events that are stored by one statement, at most.
const AT_ONCE: usize = 100;

/// A row of the outbox.
fn of<'a>(entry: &Entry<'a>, event: &'a Outgoing, position: i64) -> [Value<'a>; 7] {
    [
        event.id.as_str().into(),
        entry.step.into(),
        entry.event_id.into(),
        entry.subject.into(),
        position.into(),
        event.nats_subject.as_str().into(),
        event.payload.as_str().into(),
    ]
}

impl Connection {
    /// Claims the event before any effect.
    pub async fn claim(&mut self, entry: &Entry<'_>) -> Result<Claim> {
        if self.is_sqlite() {
            return self.find(entry).await;
        }
        self.begin().await?;
        self.enter(entry).await
    }

    /// Opens the transaction that records the effect; where the claim has opened it already, goes on in that.
    pub async fn begin_record(&mut self, entry: &Entry<'_>) -> Result<Claim> {
        if !self.is_sqlite() {
            return Ok(Claim::New);
        }
        self.begin().await?;
        self.enter(entry).await
    }

    /// Writes what follows into the transaction that also holds the entry and the rows, and makes all of it final.
    pub async fn store_and_commit(&mut self, entry: &Entry<'_>, events: &[Outgoing]) -> Result<()> {
        let mut groups = events.chunks(AT_ONCE).zip((0_i64..).step_by(AT_ONCE)).peekable();
        while let Some((group, first)) = groups.next() {
            let sql = format!(
                "INSERT INTO outbox (event_id, step, cause_id, cause_subject, position, nats_subject, payload) VALUES {}",
                rows(group.len(), 7)
            );
            let values: Vec<Value<'_>> =
                group.iter().zip(first..).flat_map(|(event, position)| of(entry, event, position)).collect();
            if groups.peek().is_none() {
                return self.execute_and_commit(&sql, &values).await;
            }
            self.execute(&sql, &values).await?;
        }
        self.commit().await
    }

    async fn enter(&mut self, entry: &Entry<'_>) -> Result<Claim> {
        let entered = self
            .execute(
                "INSERT INTO handled_events (step, event_id, subject, customer_id, handled_at) VALUES (?, ?, ?, ?, ?)",
                &[
                    entry.step.into(),
                    entry.event_id.into(),
                    entry.subject.into(),
                    entry.customer.into(),
                    Utc::now().into(),
                ],
            )
            .await;
        match entered {
            Ok(_) => Ok(Claim::New),
            Err(Failure::Duplicate(_)) => self.outgoing(entry).await.map(Claim::Handled),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    async fn find(&mut self, entry: &Entry<'_>) -> Result<Claim> {
        let sql = "SELECT 1 FROM handled_events WHERE step = ? AND event_id = ? AND subject = ?";
        let key = [entry.step.into(), entry.event_id.into(), entry.subject.into()];
        match self.row(sql, &key).await? {
            None => Ok(Claim::New),
            Some(_) => self.outgoing(entry).await.map(Claim::Handled),
        }
    }

    async fn outgoing(&mut self, entry: &Entry<'_>) -> Result<Vec<Outgoing>> {
        let sql = "SELECT event_id, nats_subject, payload FROM outbox \
                   WHERE step = ? AND cause_id = ? AND cause_subject = ? ORDER BY position";
        let rows = self.rows(sql, &[entry.step.into(), entry.event_id.into(), entry.subject.into()]).await?;
        rows.iter()
            .map(|row| Ok(Outgoing { id: row.text(0)?, nats_subject: row.text(1)?, payload: row.text(2)? }))
            .collect()
    }
}
