//! Who did what to dead letters, and when.

use chrono::{DateTime, Utc};
use shared::database::Row;
use shared::error::Result;

use super::History;
use super::run::{customer_key, fit};

/// Something an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When.
    pub at: DateTime<Utc>,
    /// The name that was given with the admin token.
    pub operator: String,
    /// Where the request came from.
    pub address: String,
    /// `replay` or `drop`.
    pub action: String,
    /// The dead letter's number.
    pub dead_letter: u64,
    /// Where the event was published first.
    pub nats_subject: String,
    /// The event's id.
    pub event_id: String,
    /// Whom it is about.
    pub customer: String,
    /// What came of it.
    pub outcome: String,
}

const COLUMNS: &str =
    "done_at, operator, address, action, dead_letter, nats_subject, event_id, customer_id, outcome";

impl History {
    /// Writes it down.
    pub async fn note(&self, act: &Act) -> Result<()> {
        let sql =
            format!("INSERT INTO operator_actions (id, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
        let cut = [
            fit(&act.operator, 64),
            fit(&act.address, 64),
            fit(&act.action, 16),
            fit(&act.nats_subject, 255),
            fit(&act.event_id, 255),
            customer_key(&act.customer),
            fit(&act.outcome, 255),
        ];
        let [operator, address, action, subject, event, customer, outcome] =
            cut.each_ref().map(String::as_str);
        let values = [
            shared::Uuid::new_v4().into(),
            act.at.into(),
            operator.into(),
            address.into(),
            action.into(),
            i64::try_from(act.dead_letter).unwrap_or(i64::MAX).into(),
            subject.into(),
            event.into(),
            customer.into(),
            outcome.into(),
        ];
        let mut lease = self.0.connections.lease().await?;
        lease.get()?.execute(&sql, &values).await?;
        lease.done();
        Ok(())
    }

    /// What was done last, newest first.
    pub async fn acts(&self, limit: u32) -> Result<Vec<Act>> {
        let sql = format!("SELECT {COLUMNS} FROM operator_actions ORDER BY done_at DESC LIMIT ?");
        let mut lease = self.0.connections.lease().await?;
        let rows = lease.get()?.rows(&sql, &[i64::from(limit).into()]).await?;
        lease.done();
        rows.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<Act> {
    Ok(Act {
        at: row.time(0)?,
        operator: row.text(1)?,
        address: row.text(2)?,
        action: row.text(3)?,
        dead_letter: row.integer(4)?.try_into().unwrap_or(0),
        nats_subject: row.text(5)?,
        event_id: row.text(6)?,
        customer: row.text(7)?,
        outcome: row.text(8)?,
    })
}
