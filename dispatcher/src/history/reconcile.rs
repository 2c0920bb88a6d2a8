//! What a dispatcher that was killed has not written: runs that seem to run while nobody follows them, and customers that seem not to be
//! done. Where the event comes again, whoever takes it adopts the Job and says how it ended; where it was acknowledged before
//! its end was written, which happens while the database is away, what the workers have written says so.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::database::{Connection, Value, marks};
use shared::error::Result;

use super::RunState;
use super::customer::{Stage, Word};
use super::fold::groups;
use super::run::{COLUMNS, Run};
use super::write::Batch;
use crate::flow::short;

/// A run that showed no sign of life for so long is not followed any more.
const SILENT: Duration = Duration::from_secs(90);

/// Runs looked at at once.
const AT_ONCE: usize = 1000;

/// The last one looked at: its sign of life and its id.
pub(super) type Place = (DateTime<Utc>, String);

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

/// Completes the runs that nobody follows and whose step is in the ledger. The others wait for their event, be it for ever: images
/// that are not ours write no ledger. So each call looks at those after the last one's, and answers where the next begins.
pub(super) async fn close_ended(
    database: &mut Connection,
    last: &BTreeSet<String>,
    after: Option<Place>,
) -> Result<Option<Place>> {
    let silent_since = Utc::now() - SILENT;
    let sql = format!(
        "SELECT {COLUMNS} FROM job_runs WHERE state IN ('running', 'handed_back', 'try_again') AND seen_at < ? \
         AND (seen_at > ? OR (seen_at = ? AND id > ?)) ORDER BY seen_at, id LIMIT {AT_ONCE}"
    );
    let (seen, id) = after.unwrap_or_default();
    let rows =
        database.rows(&sql, &[silent_since.into(), seen.into(), seen.into(), id.as_str().into()]).await?;
    let mut batch = Batch::default();
    let mut next = None;
    for row in &rows {
        let run = Run::read(row)?;
        next = Some((run.seen_at, run.id.clone()));
        let ledger =
            "SELECT handled_at FROM handled_events WHERE customer_id = ? AND event_id = ? AND step = ?";
        let key = [run.customer.as_str().into(), run.event_id.as_str().into(), short(&run.image).into()];
        let Some(handled) = database.row(ledger, &key).await? else { continue };
        let at = handled.time(0)?;
        let ended = Run { state: RunState::Complete, ended_at: Some(at), exit_code: Some(0), ..run };
        batch.add(ended, "");
    }
    if !batch.runs.is_empty() {
        batch.write(database, last).await?;
    }
    Ok(next.filter(|_| rows.len() == AT_ONCE))
}

/// Brings up to date the customers that the last worker has written down as onboarded, and their rows not: nobody tells of them
/// any more.
pub(super) async fn close_onboarded(database: &mut Connection, last: &BTreeSet<String>) -> Result<()> {
    let unfinished: Vec<_> =
        Stage::ALL.iter().filter(|stage| !stage.is_end()).map(|stage| stage.code().to_string()).collect();
    let sql = format!(
        "SELECT s.id, s.name, s.started_at FROM customer_states s JOIN customers c ON c.id = s.id \
         WHERE s.stage IN ({}) AND c.onboarded_at IS NOT NULL LIMIT {AT_ONCE}",
        unfinished.join(", ")
    );
    let mut batch = Batch::default();
    for row in database.rows(&sql, &[]).await? {
        batch.words.insert(row.text(0)?, Word { name: row.text(1)?, published_at: row.time(2)? });
    }
    if batch.words.is_empty() { Ok(()) } else { batch.write(database, last).await }
}
