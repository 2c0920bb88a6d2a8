//! Removes the oldest part of the history.

use std::time::Duration;

use shared::error::Result;

use super::database::{Text, execute, list, rows};
use super::{History, explain};

/// How many rows one statement removes.
const MOST: i64 = 500;

/// How many runs a history in memory holds.
const IN_MEMORY_RUNS: i64 = 20_000;

/// How long runs are kept, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Runs are removed when their last report is older than this. Failed ones stay until they are replayed or dropped.
    pub age: Duration,
    /// The most runs that are kept. If there are more, the oldest are removed, ended ones first.
    pub runs: Option<i64>,
}

impl Keep {
    /// Keeps runs for this many days.
    pub const fn days(days: u64) -> Self {
        Self { age: Duration::from_secs(days * 86_400), runs: None }
    }

    pub(super) fn in_memory(self) -> Self {
        Self { runs: Some(self.runs.unwrap_or(IN_MEMORY_RUNS)), ..self }
    }
}

/// Removes runs that are too old or too many.
pub(super) async fn prune(history: &History) -> Result<()> {
    let keep = history.0.keep;
    let pool = &history.0.database.write;
    // A dispatcher whose clock is wrong must not remove the history of all.
    let cutoff = pool.ago(keep.age);
    loop {
        let old: Vec<(Text,)> = rows!(pool, query => {
            query.push("SELECT id FROM job_runs WHERE seen_at < ").push(&cutoff);
            // As long as nobody has replayed or dropped its dead letter, a failed run is why its flow stands still.
            query.push(" AND NOT (state = 'failed' AND superseded = 0)");
            query.push(" ORDER BY seen_at LIMIT ").push_bind(MOST);
        })
        .map_err(explain)?;
        if old.is_empty() {
            break;
        }
        history.remove(&ids(old)).await?;
    }
    let Some(most) = keep.runs else { return Ok(()) };
    loop {
        let count: Vec<(i64,)> =
            rows!(pool, query => { query.push("SELECT COUNT(*) FROM job_runs"); }).map_err(explain)?;
        let surplus = count.first().map_or(0, |row| row.0) - most;
        if surplus <= 0 {
            return Ok(());
        }
        let oldest: Vec<(Text,)> = rows!(pool, query => {
            query.push("SELECT id FROM job_runs ORDER BY ended_at IS NULL, seen_at, handed_at LIMIT ");
            query.push_bind(surplus.min(MOST));
        })
        .map_err(explain)?;
        history.remove(&ids(oldest)).await?;
    }
}

fn ids(rows: Vec<(Text,)>) -> Vec<String> {
    rows.into_iter().map(|(id,)| id.0).collect()
}

impl History {
    /// Removes these runs.
    pub async fn remove(&self, ids: &[String]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        execute!(&self.0.database.write, query => {
            query.push("DELETE FROM job_runs WHERE id IN ");
            list!(query, ids.iter().map(String::as_str));
        })
        .map(drop)
        .map_err(explain)
    }
}
