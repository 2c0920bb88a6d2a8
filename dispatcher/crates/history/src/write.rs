//! Writes runs as rows: one statement for many runs, without a transaction around it. A report that comes late, twice
//! or from two dispatchers updates the existing row, or is old news.

use std::time::Duration;

use sqlx::query_builder::Separated;

use super::database::{Pool, execute};
use super::run::Run;

/// How a later report changes a column.
#[derive(Clone, Copy)]
enum Merge {
    /// It keeps the value of the first report.
    Keep,
    /// It takes the value of the later report.
    Newest,
    /// It takes the value of the later report, if that has one.
    Known,
    /// The same, but it is cleared once the run is complete.
    Reason,
}

use Merge::{Keep, Known, Newest, Reason};

/// In the order of [`bind`]. The last column, `seen_at`, is filled by the database with its own time.
const COLUMNS: [(&str, Merge); 24] = [
    ("id", Keep),
    ("trigger_name", Keep),
    ("namespace", Keep),
    ("job_name", Keep),
    ("image", Newest),
    ("event_hash", Keep),
    ("event_id", Keep),
    ("nats_subject", Keep),
    ("flow_key", Keep),
    ("flow_name", Keep),
    ("replay", Newest),
    ("deliveries", Newest),
    ("state", Newest),
    ("superseded", Keep),
    ("published_at", Newest),
    ("handed_at", Keep),
    ("started_at", Known),
    ("ended_at", Newest),
    ("tries", Newest),
    ("adopted", Newest),
    ("exit_code", Known),
    ("cause", Reason),
    ("message", Reason),
    ("report", Known),
];

/// Whether a report is news for the row. A complete run stays complete, whatever a later delivery reports, because
/// that finds the same Job. The only exception is a report made from the ledger, which has no exit code: any other
/// replaces it. Within one delivery, the end is the last report. A run of a dropped event changes only if the event
/// is published again.
fn is_news(old: &str, new: &str) -> String {
    format!(
        "({new}(state) = 'complete' OR (NOT ({old}state = 'complete' AND COALESCE({old}exit_code, 1) = 0) AND \
         ({new}(published_at) > {old}published_at OR ({new}(published_at) = {old}published_at \
         AND {old}state <> 'dropped' AND NOT ({new}(state) = 'running' AND {old}state <> 'running' \
         AND {new}(deliveries) <= {old}deliveries)))))"
    )
}

fn merged(column: &str, merge: Merge, old: &str, new: &str) -> Option<String> {
    let known = format!("COALESCE({new}({column}), {old}{column})");
    match merge {
        Keep => None,
        Newest => Some(format!("{new}({column})")),
        Known => Some(known),
        Reason => Some(format!("CASE WHEN {new}(state) = 'complete' THEN NULL ELSE {known} END")),
    }
}

/// A server assigns from left to right, and sees what it has already assigned. So only the first column, the time of
/// this statement, asks whether the report is news; the others read the answer from it.
fn on_server() -> String {
    let news = is_news("", "VALUES");
    let mut sql = format!(" ON DUPLICATE KEY UPDATE seen_at = IF({news}, VALUES(seen_at), seen_at)");
    for (column, merge) in COLUMNS {
        if let Some(value) = merged(column, merge, "", "VALUES") {
            sql += &[", ", column, " = IF(seen_at = VALUES(seen_at), ", &value, ", ", column, ")"].concat();
        }
    }
    sql
}

fn in_file() -> String {
    // A server's `VALUES(x)` is `excluded.x` in a file.
    let mut sql = " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at".to_owned();
    for (column, merge) in COLUMNS {
        if let Some(value) = merged(column, merge, "job_runs.", "excluded") {
            sql += &[", ", column, " = ", &value].concat();
        }
    }
    sql += " WHERE ";
    sql += &is_news("job_runs.", "excluded");
    COLUMNS.iter().fold(sql, |sql, (column, _)| {
        sql.replace(&format!("excluded({column})"), &format!("excluded.{column}"))
    })
}

fn bind<'q, DB>(row: &mut Separated<'_, 'q, DB, &'static str>, run: &'q Run)
where
    DB: sqlx::Database,
    &'q str: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<&'q str>: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    i64: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<i64>: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    chrono::NaiveDateTime: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<chrono::NaiveDateTime>: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
{
    row.push_bind(run.id.as_str())
        .push_bind(run.trigger.as_str())
        .push_bind(run.namespace.as_str())
        .push_bind(run.job.as_str())
        .push_bind(run.image.as_str())
        .push_bind(run.event_hash.as_str())
        .push_bind(run.event_id.as_str())
        .push_bind(run.nats_subject.as_str())
        .push_bind(run.flow_key.as_str())
        .push_bind(run.flow_name.as_str())
        .push_bind(run.replay)
        .push_bind(run.deliveries)
        .push_bind(run.state.as_str())
        .push_bind(i64::from(run.superseded))
        .push_bind(run.published_at.naive_utc())
        .push_bind(run.handed_at.naive_utc())
        .push_bind(run.started_at.map(|at| at.naive_utc()))
        .push_bind(run.ended_at.map(|at| at.naive_utc()))
        .push_bind(run.tries)
        .push_bind(i64::from(run.adopted))
        .push_bind(run.exit_code)
        .push_bind(run.class.as_deref())
        .push_bind(run.message.as_deref())
        .push_bind(run.report.as_deref());
}

impl Pool {
    /// The time of the database, so that all dispatchers share one clock.
    pub(super) const fn now(&self) -> &'static str {
        match self {
            Self::MySql(_) => "UTC_TIMESTAMP(6)",
            Self::Sqlite(_) => "strftime('%Y-%m-%d %H:%M:%f', 'now')",
        }
    }

    /// The time this long ago, by the same clock.
    pub(super) fn ago(&self, age: Duration) -> String {
        let seconds = age.as_secs();
        match self {
            Self::MySql(_) => format!("UTC_TIMESTAMP(6) - INTERVAL {seconds} SECOND"),
            Self::Sqlite(_) => format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '-{seconds} seconds')"),
        }
    }

    /// Writes these reports, each about another run.
    pub(super) async fn write(&self, runs: &[Run]) -> sqlx::Result<()> {
        if runs.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let insert = format!("INSERT INTO job_runs ({}, seen_at) ", names.join(", "));
        let (now, update) = match self {
            Self::MySql(_) => (self.now(), on_server()),
            Self::Sqlite(_) => (self.now(), in_file()),
        };
        execute!(self, query => {
            query.push(&insert).push_values(runs, |mut row, run| {
                bind(&mut row, run);
                row.push(now);
            });
            query.push(&update);
        })?;
        for run in runs.iter().filter(|run| run.replay > 0) {
            self.supersede(run).await?;
        }
        Ok(())
    }

    /// A replay replaces the earlier runs of its trigger, and those that could not be planned, because every trigger
    /// is planned again.
    async fn supersede(&self, run: &Run) -> sqlx::Result<()> {
        execute!(self, query => {
            query
                .push("UPDATE job_runs SET superseded = 1 WHERE superseded = 0 AND flow_key = ")
                .push_bind(run.flow_key.as_str())
                .push(" AND event_id = ")
                .push_bind(run.event_id.as_str())
                .push(" AND (job_name = '' OR trigger_name = ")
                .push_bind(run.trigger.as_str())
                .push(") AND replay < ")
                .push_bind(run.replay);
        })
        .map(drop)
    }
}
