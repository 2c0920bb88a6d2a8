//! How long the history is kept, and its oldest part removed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::database::{Connection, Row, Value, marks};
use shared::error::Result;

use super::fold::groups;
use super::totals::Totals;
use super::{RunState, Stage};

/// Rows that one transaction removes.
const MOST: i64 = 512;

/// Runs that a history in memory holds.
const IN_MEMORY_RUNS: i64 = 20_000;

/// How long, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Runs that are older go, and customers that have none left.
    pub age: Duration,
    /// More runs than this are never kept; the oldest go, ended ones first.
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

/// Removes a part of what is too old or too much, and the customers that have no run left; `true` while there is more.
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
    let runs = oldest(database, cutoff, surplus.min(MOST)).await?;
    let mut ids = Vec::with_capacity(runs.len());
    let mut customers = BTreeSet::new();
    for run in &runs {
        ids.push(run.text(0)?);
        customers.insert(run.text(4)?);
        let state = RunState::parse(&run.text(2)?)?;
        // What was done stays counted; what failed is forgotten with its row.
        if state != RunState::Complete && run.integer(3)? == 0 {
            totals.count_run(&run.text(1)?, state, -1);
        }
    }
    remove(database, "job_runs", &ids).await?;
    let mut gone = left_without_runs(database, &customers).await?;
    gone.extend(never_had_runs(database, cutoff).await?);
    for stage in gone.values() {
        totals.count_customer(*stage, -1);
    }
    remove(database, "customer_states", &gone.keys().cloned().collect::<Vec<_>>()).await?;
    totals.add(database).await?;
    database.commit().await?;
    Ok(!ids.is_empty() || !gone.is_empty())
}

/// The runs to remove: those that ended before, those that nobody has followed since before, and where there are too many the oldest,
/// ended ones first.
async fn oldest(database: &mut Connection, cutoff: DateTime<Utc>, surplus: i64) -> Result<Vec<Row>> {
    let old = [("ended_at < ?", "ended_at"), ("state = 'running' AND seen_at < ?", "seen_at")];
    let surplus_of = [("ended_at IS NOT NULL", "ended_at"), ("ended_at IS NULL", "seen_at")];
    let select = |(which, order): (&str, &str)| {
        format!(
            "SELECT id, trigger_name, state, superseded, customer_id FROM job_runs WHERE {which} ORDER BY {order} LIMIT ?"
        )
    };
    for which in old {
        let rows = database.locked_rows(&select(which), &[cutoff.into(), MOST.into()]).await?;
        if !rows.is_empty() {
            return Ok(rows);
        }
    }
    for which in surplus_of.into_iter().filter(|_| surplus > 0) {
        let rows = database.locked_rows(&select(which), &[surplus.into()]).await?;
        if !rows.is_empty() {
            return Ok(rows);
        }
    }
    Ok(Vec::new())
}

const RUNLESS: &str = "NOT EXISTS (SELECT 1 FROM job_runs WHERE customer_id = customer_states.id)";

async fn left_without_runs(
    database: &mut Connection,
    customers: &BTreeSet<String>,
) -> Result<BTreeMap<String, Stage>> {
    let all: Vec<_> = customers.iter().map(String::as_str).collect();
    let mut found = BTreeMap::new();
    for group in groups(&all) {
        let sql = format!(
            "SELECT id, stage FROM customer_states WHERE id IN ({}) AND {RUNLESS} ORDER BY id",
            marks(group.len())
        );
        let values: Vec<_> = group.iter().map(|id| Value::from(*id)).collect();
        found.extend(read(&database.locked_rows(&sql, &values).await?)?);
    }
    Ok(found)
}

/// Customers from before there was a history.
async fn never_had_runs(database: &mut Connection, cutoff: DateTime<Utc>) -> Result<BTreeMap<String, Stage>> {
    let mut found = BTreeMap::new();
    for stage in Stage::ALL {
        let cutoff = cutoff.timestamp_micros();
        // The positions of those at an end are negative times.
        let (before, cutoff) = if stage.is_end() { (">", -cutoff) } else { ("<", cutoff) };
        let sql = format!(
            "SELECT id, stage FROM customer_states WHERE stage = ? AND position {before} ? AND {RUNLESS} \
             ORDER BY position, id LIMIT ?"
        );
        let values = [stage.code().into(), cutoff.into(), MOST.into()];
        found.extend(read(&database.locked_rows(&sql, &values).await?)?);
    }
    Ok(found)
}

fn read(rows: &[Row]) -> Result<BTreeMap<String, Stage>> {
    rows.iter().map(|row| Ok((row.text(0)?, Stage::parse(row.integer(1)?)?))).collect()
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
