//! The record of what operators do to dead letters, and the mark on the runs of a dropped event.

use chrono::{DateTime, Utc};
use shared::error::{Error, Result};

use super::database::{Text, Trouble, execute, row, rows};
use super::run::{fit, key_of};
use super::{History, explain};

/// The timeout: a writer's lock is usually free at the next try.
const TRIES: u32 = 3;

/// Something an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When it was done.
    pub at: DateTime<Utc>,
    /// The operator's name, given with the admin token.
    pub operator: String,
    /// Where the request came from.
    pub address: String,
    /// `replay` or `drop`.
    pub action: String,
    /// The dead letter's number.
    pub dead_letter: u64,
    /// The subject that the event was first published on.
    pub nats_subject: String,
    /// The event's id.
    pub event_id: String,
    /// The flow key of the event.
    pub flow_key: String,
    /// The result.
    pub outcome: String,
}

row!(Act {
    at: DateTime<Utc> = "done_at",
    operator: Text = "operator",
    address: Text = "address",
    action: Text = "action",
    dead_letter: i64 = "dead_letter",
    nats_subject: Text = "nats_subject",
    event_id: Text = "event_id",
    flow_key: Text = "flow_key",
    outcome: Text = "outcome",
});

impl History {
    /// Records an action.
    pub async fn note(&self, act: &Act) -> Result<()> {
        execute!(&self.0.database.write, query => {
            query.push(
                "INSERT INTO operator_actions (id, done_at, operator, address, action, dead_letter, nats_subject, event_id, \
                 flow_key, outcome) VALUES (",
            );
            query
                .separated(", ")
                .push_bind(shared::Uuid::new_v4().to_string())
                .push_bind(act.at.naive_utc())
                .push_bind(fit(&act.operator, 64))
                .push_bind(fit(&act.address, 64))
                .push_bind(fit(&act.action, 16))
                .push_bind(i64::try_from(act.dead_letter).unwrap_or(i64::MAX))
                .push_bind(fit(&act.nats_subject, 255))
                .push_bind(fit(&act.event_id, 255))
                .push_bind(key_of(&act.flow_key))
                .push_bind(fit(&act.outcome, 255));
            query.push(")");
        })
        .map(drop)
        .map_err(explain)
    }

    /// The latest actions, newest first.
    pub async fn acts(&self, limit: u32) -> Result<Vec<Act>> {
        rows!(&self.0.database.read, query => {
            query.push("SELECT * FROM operator_actions ORDER BY done_at DESC LIMIT ").push_bind(i64::from(limit));
        })
        .map_err(explain)
    }

    /// Marks the runs of this event as dropped, except those that completed.
    pub async fn give_up(&self, flow_key: &str, event_id: &str, nats_subject: &str) -> Result<()> {
        if let Some(problem) = self.problem() {
            return Err(Error::unavailable(problem));
        }
        let (pool, now) = (&self.0.database.write, Utc::now().naive_utc());
        let mut tries = 1;
        loop {
            let done = execute!(pool, query => {
                query.push("UPDATE job_runs SET state = 'dropped', ended_at = COALESCE(ended_at, ").push_bind(now);
                query.push("), seen_at = ").push(pool.now());
                query.push(" WHERE superseded = 0 AND state NOT IN ('complete', 'dropped') AND flow_key = ");
                query.push_bind(key_of(flow_key)).push(" AND event_id = ").push_bind(fit(event_id, 255));
                query.push(" AND nats_subject = ").push_bind(fit(nats_subject, 255));
            });
            match done {
                Ok(_) => {
                    self.0.written.send_modify(|count| *count += 1);
                    return Ok(());
                }
                Err(error) if tries < TRIES && Trouble::of(&error) == Trouble::Locked => tries += 1,
                Err(error) => return Err(explain(error)),
            }
        }
    }
}
