//! The ledger of handled events, with its outbox, and of effects outside of the database. It makes a second run
//! harmless.
//!
//! On a server, the entry of the event is inserted first, in the open transaction, so that a simultaneous run for the
//! same event waits. An SQLite file locks as a whole, so there the ledger is only read first, and the transaction
//! begins after the effects.
//!
//! The entry of an effect is committed as soon as the effect has succeeded, whatever happens to the run afterwards.

use std::collections::BTreeMap;

use chrono::Utc;
use uuid::Uuid;

use super::server::Server;
use super::{Connection, Failure, Row, Statement, Value};
use crate::error::Result;
use crate::event::Outgoing;

/// The entry: this step has handled this event about this subject.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The step's name.
    pub step: &'a str,
    /// The id of the event that caused the run.
    pub event_id: &'a str,
    /// The customer or user that it is about, because people who publish by hand use one id for several events.
    pub subject: Uuid,
    /// The customer.
    pub customer: Uuid,
}

/// The effects that have succeeded, by name, each with the id that the other server gave, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts(BTreeMap<String, Option<String>>);

impl Receipts {
    /// No effect has succeeded.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether this effect has succeeded.
    pub fn has(&self, effect: &str) -> bool {
        self.0.contains_key(effect)
    }

    /// The id that the other server gave.
    pub fn id(&self, effect: &str) -> Option<&str> {
        self.0.get(effect)?.as_deref()
    }

    /// Whether no effect has succeeded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An effect that has succeeded.
    pub fn add(&mut self, effect: &str, id: Option<String>) {
        self.0.insert(effect.to_owned(), id);
    }
}

/// The result of a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// The event was not handled before; these of its effects have succeeded.
    New(Receipts),
    /// The event was handled before, and these events followed.
    Handled(Vec<Outgoing>),
}

/// The most events that one statement stores.
const AT_ONCE: usize = 100;

impl<'a> Entry<'a> {
    fn key(&self) -> [Value<'a>; 3] {
        [self.step.into(), self.event_id.into(), self.subject.into()]
    }

    fn is(&self, statement: Statement<'a>) -> Statement<'a> {
        let [step, event_id, subject] = self.key();
        let statement = statement.sql("step = ").value(step);
        statement.sql(" AND event_id = ").value(event_id).sql(" AND subject = ").value(subject)
    }

    fn insert(&self) -> Statement<'a> {
        let [step, event_id, subject] = self.key();
        Statement::new(
            "INSERT INTO handled_events (step, event_id, subject, customer_id, handled_at) VALUES ",
        )
        .row([step, event_id, subject, self.customer.into(), Utc::now().into()])
    }

    fn effects(&self) -> Statement<'a> {
        self.is(Statement::new("SELECT effect, receipt FROM effects WHERE "))
    }

    fn insert_effect(
        &self,
        insert: &'static str,
        effect: &'a str,
        receipt: Option<&'a str>,
    ) -> Statement<'a> {
        let [step, event_id, subject] = self.key();
        Statement::new(insert)
            .sql(" INTO effects (step, event_id, subject, effect, customer_id, receipt, done_at) VALUES ")
            .row([
                step,
                event_id,
                subject,
                effect.into(),
                self.customer.into(),
                receipt.into(),
                Utc::now().into(),
            ])
    }

    /// A row of the outbox.
    fn follows(&self, event: &'a Outgoing, position: i64) -> [Value<'a>; 7] {
        let [step, event_id, subject] = self.key();
        [
            event.id.as_str().into(),
            step,
            event_id,
            subject,
            position.into(),
            event.nats_subject.as_str().into(),
            event.payload.as_str().into(),
        ]
    }
}

impl Connection {
    /// Claims the event before any effect; `acts` says whether the step has effects outside of the database.
    pub async fn claim(&mut self, entry: &Entry<'_>, acts: bool) -> Result<Claim> {
        if self.is_sqlite() {
            let handled = entry.is(Statement::new("SELECT 1 FROM handled_events WHERE "));
            if self.select_one(handled).await?.is_some() {
                return self.outgoing(entry).await.map(Claim::Handled);
            }
            let effects = if acts { self.select(entry.effects()).await? } else { Vec::new() };
            return Ok(Claim::New(receipts(&effects)?));
        }
        self.begin().await?;
        let enter = if acts { entry.insert().then(entry.effects()) } else { entry.insert() };
        self.entered(entry, enter).await
    }

    /// Commits the entry of an effect that has succeeded, and continues in a new transaction. Another run may have
    /// handled the event in between. Entering an effect twice changes nothing.
    pub async fn enter_effect(&mut self, entry: &Entry<'_>, effect: &str, id: Option<&str>) -> Result<Claim> {
        if self.is_sqlite() {
            self.run(entry.insert_effect("INSERT OR IGNORE", effect, id)).await?;
            return Ok(Claim::New(Receipts::none()));
        }
        // The event's own entry may only be committed with the record. So it is removed, and inserted again in the
        // same message that ends this transaction and begins the next.
        let release = entry.is(Statement::new("DELETE FROM handled_events WHERE "));
        let keep = entry.insert_effect("INSERT", effect, id).sql(" ON DUPLICATE KEY UPDATE effect = effect");
        let again = Statement::new("COMMIT").then(Server::beginning()).then(entry.insert());
        self.entered(entry, release.then(keep).then(again)).await
    }

    /// Opens the transaction that records the event, or continues in the one that the claim has opened.
    pub async fn begin_record(&mut self, entry: &Entry<'_>) -> Result<Claim> {
        if !self.is_sqlite() {
            return Ok(Claim::New(Receipts::none()));
        }
        self.begin().await?;
        self.entered(entry, entry.insert()).await
    }

    /// Writes the following events into the transaction with the entry and the rows, and commits it.
    pub async fn store_and_commit(&mut self, entry: &Entry<'_>, events: &[Outgoing]) -> Result<()> {
        let mut groups = events.chunks(AT_ONCE).zip((0_i64..).step_by(AT_ONCE)).peekable();
        while let Some((group, first)) = groups.next() {
            let rows = group.iter().zip(first..).map(|(event, position)| entry.follows(event, position));
            let insert = Statement::new(
                "INSERT INTO outbox (event_id, step, cause_id, cause_subject, position, nats_subject, payload) VALUES ",
            )
            .rows(rows);
            if groups.peek().is_none() {
                return self.run_and_commit(insert).await;
            }
            self.run(insert).await?;
        }
        self.commit().await
    }

    /// The result of a statement that enters the event: new, with the effects that it selects, or already handled.
    async fn entered(&mut self, entry: &Entry<'_>, enter: Statement<'_>) -> Result<Claim> {
        match self.query(enter).await {
            Ok(rows) => Ok(Claim::New(receipts(&rows)?)),
            Err(Failure::Duplicate(_)) => self.outgoing(entry).await.map(Claim::Handled),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    async fn outgoing(&mut self, entry: &Entry<'_>) -> Result<Vec<Outgoing>> {
        let [step, event_id, subject] = entry.key();
        let select =
            Statement::new("SELECT event_id, nats_subject, payload FROM outbox WHERE step = ").value(step);
        let select =
            select.sql(" AND cause_id = ").value(event_id).sql(" AND cause_subject = ").value(subject);
        let rows = self.select(select.sql(" ORDER BY position")).await?;
        rows.iter()
            .map(|row| Ok(Outgoing { id: row.text(0)?, nats_subject: row.text(1)?, payload: row.text(2)? }))
            .collect()
    }
}

fn receipts(effects: &[Row]) -> Result<Receipts> {
    effects.iter().map(|row| Ok((row.text(0)?, row.optional_text(1)?))).collect::<Result<_>>().map(Receipts)
}
