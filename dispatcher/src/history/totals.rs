//! How many there are of everything, kept beside what is counted.

use std::collections::BTreeMap;

use shared::database::{Connection, Failure, Row};
use shared::error::{Error, Result};

use super::{RunState, Stage};

/// All counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals(BTreeMap<(String, String, String), i64>);

impl Totals {
    /// Runs of a trigger in a state; those that a replay has taken the place of count no more.
    pub fn runs(&self, trigger: &str, state: RunState) -> u64 {
        self.get("run", trigger, state.as_str())
    }

    /// Customers in a stage.
    pub fn customers(&self, stage: Stage) -> u64 {
        self.get("customer", "", &stage.code().to_string())
    }

    fn get(&self, kind: &str, name: &str, state: &str) -> u64 {
        let key = (kind.to_owned(), name.to_owned(), state.to_owned());
        self.0.get(&key).copied().unwrap_or(0).try_into().unwrap_or(0)
    }

    pub(super) fn count_run(&mut self, trigger: &str, state: RunState, change: i64) {
        *self.0.entry(("run".into(), trigger.into(), state.as_str().into())).or_default() += change;
    }

    pub(super) fn count_customer(&mut self, stage: Stage, change: i64) {
        *self.0.entry(("customer".into(), String::new(), stage.code().to_string())).or_default() += change;
    }

    pub(super) async fn read(database: &mut Connection) -> Result<Self> {
        Self::of(&database.rows("SELECT kind, name, state, amount FROM history_totals", &[]).await?)
    }

    fn of(rows: &[Row]) -> Result<Self> {
        let all = rows.iter().map(|row| Ok(((row.text(0)?, row.text(1)?, row.text(2)?), row.integer(3)?)));
        all.collect::<Result<_>>().map(Self)
    }

    /// What the rows say, of everything that has its rows for as long as it counts: customers, and runs that are not complete.
    async fn counted(database: &mut Connection) -> Result<Self> {
        let mut totals = Self::default();
        for row in database.rows("SELECT stage, COUNT(*) FROM customer_states GROUP BY stage", &[]).await? {
            totals.count_customer(Stage::parse(row.integer(0)?)?, row.integer(1)?);
        }
        let runs = "SELECT trigger_name, state, COUNT(*) FROM job_runs \
                    WHERE state IN ('running', 'failed', 'try_again', 'handed_back', 'dropped') AND superseded = 0 \
                    GROUP BY trigger_name, state";
        for row in database.rows(runs, &[]).await? {
            totals.count_run(&row.text(0)?, RunState::parse(&row.text(1)?)?, row.integer(2)?);
        }
        Ok(totals)
    }

    /// Adds these changes to what the table says, in one order for all writers.
    pub(super) async fn add(&self, database: &mut Connection) -> Result<()> {
        for ((kind, name, state), change) in self.0.iter().filter(|(_, change)| **change != 0) {
            let key = [kind.as_str().into(), name.as_str().into(), state.as_str().into()];
            let [kind, name, state] = key.clone();
            let update =
                "UPDATE history_totals SET amount = amount + ? WHERE kind = ? AND name = ? AND state = ?";
            if database.execute(update, &[(*change).into(), kind, name, state]).await? > 0 {
                continue;
            }
            let [kind, name, state] = key;
            let insert = "INSERT INTO history_totals (kind, name, state, amount) VALUES (?, ?, ?, ?)";
            match database.execute(insert, &[kind, name, state, (*change).into()]).await {
                Ok(_) => {}
                Err(Failure::Duplicate(_)) => {
                    return Err(Error::unavailable("another dispatcher wrote the same count first"));
                }
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Puts right what differs from the rows. Whoever writes meanwhile changes the counts last: before the lock, which then waits
/// for its rows, or after it, on top of what is put right here.
pub(super) async fn recount(database: &mut Connection) -> Result<()> {
    database.begin().await?;
    let kept = "SELECT kind, name, state, amount FROM history_totals ORDER BY kind, name, state";
    let kept = Totals::of(&database.locked_rows(kept, &[]).await?)?;
    let mut change = Totals::counted(database).await?;
    let complete = RunState::Complete.as_str();
    for ((kind, name, state), amount) in kept.0 {
        // What was done stays counted when its rows have gone.
        if kind != "run" || state != complete {
            *change.0.entry((kind, name, state)).or_default() -= amount;
        }
    }
    change.add(database).await?;
    database.commit().await
}
