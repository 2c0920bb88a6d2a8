//! How long the history is kept, and its oldest part removed.

use std::time::Duration;

use chrono::Utc;
use shared::database::Connection;
use shared::error::Result;

use super::fold::{groups, marks};
use super::totals::Totals;
use super::{RunState, Stage};

/// Rows that one transaction removes.
const AT_ONCE: usize = 512;
const MOST: i64 = 512;

/// Runs that a history in memory holds.
const IN_MEMORY_RUNS: i64 = 20_000;

/// How long, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Ended runs and onboarded customers that are older go.
    pub age: Duration,
    /// More runs than this are never kept; the oldest ended ones go.
    pub runs: Option<i64>,
}

impl Keep {
    /// For so many days.
    pub const fn days(days: u64) -> Self {
        Self { age: Duration::from_secs(days * 86_400), runs: None }
    }

    pub(super) fn in_memory(self) -> Self {
        Self { runs: Some(self.runs.unwrap_or(IN_MEMORY_RUNS)), ..self }
    }
}

/// Removes a part of what is too old; `true` while there is more.
pub(super) async fn prune(database: &mut Connection, keep: Keep) -> Result<bool> {
    let cutoff = Utc::now() - keep.age;
    let surplus = match keep.runs {
        None => 0,
        Some(most) => {
            let row = database.row("SELECT COUNT(*) FROM job_runs", &[]).await?;
            row.map_or(Ok(0), |row| row.integer(0))? - most
        }
    };
    database.begin().await?;
    let mut totals = Totals::default();
    let old = "SELECT id, trigger_name, state, superseded FROM job_runs WHERE ended_at < ? ORDER BY ended_at LIMIT ?";
    let mut runs = database.locked_rows(old, &[cutoff.into(), MOST.into()]).await?;
    if runs.is_empty() && surplus > 0 {
        let oldest = "SELECT id, trigger_name, state, superseded FROM job_runs WHERE ended_at IS NOT NULL ORDER BY ended_at LIMIT ?";
        runs = database.locked_rows(oldest, &[surplus.min(MOST).into()]).await?;
    }
    let mut ids = Vec::with_capacity(runs.len());
    for run in &runs {
        ids.push(run.text(0)?);
        let state = RunState::parse(&run.text(2)?)?;
        // What was done stays counted; what failed is forgotten with its row.
        if state != RunState::Complete && run.integer(3)? == 0 {
            totals.count_run(&run.text(1)?, state, -1);
        }
    }
    remove(database, "job_runs", &ids).await?;
    let more = ids.len() == AT_ONCE;
    let customers = customers(database, cutoff, surplus).await?;
    totals.count_customer(Stage::Onboarded, -i64::try_from(customers.len()).unwrap_or(0));
    remove(database, "customer_states", &customers).await?;
    totals.add(database).await?;
    database.commit().await?;
    Ok(more || customers.len() == AT_ONCE)
}

/// The onboarded customers that changed longest ago: the last of their stage.
async fn customers(
    database: &mut Connection,
    cutoff: chrono::DateTime<Utc>,
    surplus: i64,
) -> Result<Vec<String>> {
    let sql =
        "SELECT id FROM customer_states WHERE stage = ? AND position > ? ORDER BY position DESC, id LIMIT ?";
    // The newest come first: positions are negative times.
    let (before, limit) =
        if surplus > 0 { (i64::MIN, surplus.min(MOST)) } else { (-cutoff.timestamp_micros(), MOST) };
    let stage = Stage::Onboarded.code();
    let rows = database.locked_rows(sql, &[stage.into(), before.into(), limit.into()]).await?;
    rows.iter().map(|row| row.text(0)).collect()
}

async fn remove(database: &mut Connection, table: &str, ids: &[String]) -> Result<()> {
    for group in groups(ids) {
        let values: Vec<_> = group.iter().map(|id| id.as_str().into()).collect();
        database
            .execute(&format!("DELETE FROM {table} WHERE id IN ({})", marks(group.len())), &values)
            .await?;
    }
    Ok(())
}
