//! Runs that seem to run while nobody follows them: their dispatcher was killed. Where the event comes again, whoever takes
//! it adopts the Job and says how it ended; where it was acknowledged before its end was written, the ledger says so.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::Utc;
use shared::database::{Connection, Value};
use shared::error::Result;

use super::RunState;
use super::fold::{groups, marks};
use super::run::{COLUMNS, Run};
use super::write::Batch;
use crate::flow::short;

/// A run that showed no sign of life for so long is not followed any more.
const SILENT: Duration = Duration::from_secs(90);

/// Runs looked at at once.
const AT_ONCE: i64 = 200;

/// These runs are followed by this dispatcher.
pub(super) async fn still_here(database: &mut Connection, running: &[String]) -> Result<()> {
    let now = Utc::now();
    for group in groups(running) {
        let sql = format!("UPDATE job_runs SET seen_at = ? WHERE id IN ({})", marks(group.len()));
        let ids = group.iter().map(|id| Value::from(id.as_str()));
        let values: Vec<_> = [now.into()].into_iter().chain(ids).collect();
        database.execute(&sql, &values).await?;
    }
    Ok(())
}

/// Completes the runs that nobody follows and whose step is in the ledger. The others wait for their event.
pub(super) async fn close_ended(database: &mut Connection, last: &BTreeSet<String>) -> Result<()> {
    let silent_since = Utc::now() - SILENT;
    let sql = format!(
        "SELECT {COLUMNS} FROM job_runs WHERE state IN ('running', 'handed_back', 'try_again') AND seen_at < ? \
         ORDER BY seen_at LIMIT ?"
    );
    let rows = database.rows(&sql, &[silent_since.into(), AT_ONCE.into()]).await?;
    let mut batch = Batch::default();
    for row in &rows {
        let run = Run::read(row)?;
        let ledger =
            "SELECT handled_at FROM handled_events WHERE customer_id = ? AND event_id = ? AND step = ?";
        let key = [run.customer.as_str().into(), run.event_id.as_str().into(), short(&run.image).into()];
        let Some(handled) = database.row(ledger, &key).await? else { continue };
        let at = handled.time(0)?;
        let ended = Run { state: RunState::Complete, ended_at: Some(at), exit_code: Some(0), ..run };
        batch.add(ended, "");
    }
    if batch.runs.is_empty() { Ok(()) } else { batch.write(database, last).await }
}
