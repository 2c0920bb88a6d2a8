//! One batch of runs, in one transaction: the runs, their customers, the counts. The order is the same for every writer.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use shared::database::{Connection, Failure, Value, marks, rows};
use shared::error::{Error, Result};

use super::RunState;
use super::customer::{self, Word};
use super::fold::groups;
use super::run::{COLUMNS, Run};
use super::totals::Totals;

/// Runs by their ids, and what they tell of their customers.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) runs: BTreeMap<String, Run>,
    pub(super) words: BTreeMap<String, Word>,
}

impl Batch {
    /// One more word about a run.
    pub(super) fn add(&mut self, run: Run, customer_name: &str) {
        if !run.customer.is_empty() {
            let word = self
                .words
                .entry(run.customer.clone())
                .or_insert_with(|| Word { name: String::new(), published_at: run.published_at });
            word.published_at = word.published_at.min(run.published_at);
            if !customer_name.is_empty() {
                customer_name.clone_into(&mut word.name);
            }
        }
        let merged = match self.runs.remove(&run.id) {
            Some(older) => older.then(run),
            None => run,
        };
        self.runs.insert(merged.id.clone(), merged);
    }

    /// The same in two halves, the older runs in the first; or the one run that it has.
    pub(super) fn halves(self) -> std::result::Result<(Self, Self), Box<Run>> {
        let mut runs: Vec<_> = self.runs.into_values().collect();
        runs.sort_by_key(|run| run.handed_at);
        let newer = runs.split_off(runs.len() / 2);
        let half = |runs: Vec<Run>| {
            let words = runs.iter().filter_map(|run| self.words.get_key_value(&run.customer));
            Self {
                words: words.map(|(customer, word)| (customer.clone(), word.clone())).collect(),
                runs: runs.into_iter().map(|run| (run.id.clone(), run)).collect(),
            }
        };
        match <[Run; 1]>::try_from(newer) {
            Ok([only]) if runs.is_empty() => Err(Box::new(only)),
            Ok(one) => Ok((half(runs), half(one.into()))),
            Err(newer) => Ok((half(runs), half(newer))),
        }
    }

    /// Takes back what [`Self::halves`] gave.
    pub(super) fn absorb(&mut self, part: Self) {
        self.runs.extend(part.runs);
        self.words.extend(part.words);
    }

    /// Whether a run that nothing is wrong with could be written. Ends without a commit: it does not stay.
    pub(super) async fn try_out(database: &mut Connection) -> Result<()> {
        let id = shared::Uuid::new_v4().simple().to_string();
        let harmless = Run { id, ..Run::begun(Utc::now()) };
        database.begin().await?;
        store(database, "INSERT", &[harmless]).await
    }

    /// Writes all of it or nothing. On an error the connection is of no more use.
    pub(super) async fn write(&self, database: &mut Connection, last: &BTreeSet<String>) -> Result<()> {
        database.begin().await?;
        let mut totals = Totals::default();
        let ids: Vec<&str> = self.runs.keys().map(String::as_str).collect();
        let mut before = locked(database, &ids).await?;
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for run in self.runs.values() {
            match before.remove(&run.id) {
                None => {
                    totals.count_run(&run.trigger, run.state, 1);
                    new.push(run.clone());
                }
                Some(older) => {
                    let merged = older.clone().then(run.clone());
                    if merged == older {
                        continue;
                    }
                    if !merged.superseded {
                        totals.count_run(&older.trigger, older.state, -1);
                        totals.count_run(&merged.trigger, merged.state, 1);
                    }
                    changed.push(merged);
                }
            }
        }
        store(database, "INSERT", &new).await?;
        store(database, "REPLACE", &changed).await?;
        for run in new.iter().filter(|run| run.replay > 0) {
            supersede(database, run, &mut totals).await?;
        }
        customer::refresh(database, &self.words, last, &mut totals).await?;
        totals.add(database).await?;
        database.commit().await
    }
}

async fn locked(database: &mut Connection, ids: &[&str]) -> Result<BTreeMap<String, Run>> {
    let mut found = BTreeMap::new();
    for group in groups(ids) {
        let sql = format!("SELECT {COLUMNS} FROM job_runs WHERE id IN ({}) ORDER BY id", marks(group.len()));
        let values: Vec<_> = group.iter().map(|id| Value::from(*id)).collect();
        for row in database.locked_rows(&sql, &values).await? {
            let run = Run::read(&row)?;
            found.insert(run.id.clone(), run);
        }
    }
    Ok(found)
}

async fn store(database: &mut Connection, verb: &str, runs: &[Run]) -> Result<()> {
    for group in groups(runs) {
        let sql = format!("{verb} INTO job_runs ({COLUMNS}) VALUES {}", rows(group.len(), 24));
        let values: Vec<_> = group.iter().flat_map(Run::values).collect();
        match database.execute(&sql, &values).await {
            Ok(_) => {}
            // It took the same event over a moment ago: the next try finds its row.
            Err(Failure::Duplicate(_)) => {
                return Err(Error::unavailable("another dispatcher wrote the same run first"));
            }
            Err(Failure::Other(error)) => return Err(error),
        }
    }
    Ok(())
}

/// A replay takes the place of the runs before it: its trigger's, and those that could not be planned, for each trigger is planned anew.
async fn supersede(database: &mut Connection, run: &Run, totals: &mut Totals) -> Result<()> {
    let earlier = "customer_id = ? AND superseded = 0 AND (trigger_name = ? OR job_name = '') AND event_id = ? AND replay < ?";
    let key: [Value<'_>; 4] = [
        run.customer.as_str().into(),
        run.trigger.as_str().into(),
        run.event_id.as_str().into(),
        run.replay.into(),
    ];
    let rows = database
        .locked_rows(&format!("SELECT trigger_name, state FROM job_runs WHERE {earlier}"), &key)
        .await?;
    for row in &rows {
        totals.count_run(&row.text(0)?, RunState::parse(&row.text(1)?)?, -1);
    }
    if !rows.is_empty() {
        database.execute(&format!("UPDATE job_runs SET superseded = 1 WHERE {earlier}"), &key).await?;
    }
    Ok(())
}
