//! The queries of pages and commands.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta, Utc};
use shared::error::Result;

use super::database::{Text, rows};
use super::run::{Run, key_of};
use super::{History, RunState, amount, explain};

/// How far back a run can still change. A complete run stays as it is, and no report is written with a database time
/// before this.
const SETTLED_AFTER: TimeDelta = TimeDelta::seconds(10);

/// Settled runs are counted together again when there are this many new ones.
const COUNT_OVER: TimeDelta = TimeDelta::minutes(1);

/// The number of runs by trigger and state. Runs that a replay has replaced are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals(BTreeMap<(String, RunState), u64>);

impl Totals {
    /// The runs of a trigger in one state.
    pub fn runs(&self, trigger: &str, state: RunState) -> u64 {
        self.0.get(&(trigger.to_owned(), state)).copied().unwrap_or(0)
    }
}

/// Complete runs by trigger whose last report came before a certain time. Counting hundreds of thousands of rows
/// takes longer than a page may, so each row is counted only once.
#[derive(Debug)]
pub(super) struct Settled {
    until: NaiveDateTime,
    complete: BTreeMap<String, u64>,
}

type Count = (Text, i64);

impl History {
    /// The number of runs by trigger and state.
    pub async fn totals(&self) -> Result<Totals> {
        let now = self.database_time().await?;
        let mut settled = self.0.settled.lock().await;
        let until = now - SETTLED_AFTER;
        let base = match &mut *settled {
            Some(base) => base,
            none => none.insert(Settled { until, complete: self.complete(None, Some(until)).await? }),
        };
        if until - base.until > COUNT_OVER {
            let more = self.complete(Some(base.until), Some(until)).await?;
            add(&mut base.complete, more);
            base.until = until;
        }
        let mut complete = base.complete.clone();
        let from = base.until;
        drop(settled);
        add(&mut complete, self.complete(Some(from), None).await?);
        let open: Vec<(Text, Text, i64)> = rows!(&self.0.database.read, query => {
            query.push("SELECT trigger_name, state, COUNT(*) FROM job_runs WHERE superseded = 0 AND state IN ");
            query.push(RunState::OPEN).push(" GROUP BY trigger_name, state");
        })
        .map_err(explain)?;
        let mut totals = Totals::default();
        for (trigger, count) in complete {
            totals.0.insert((trigger, RunState::Complete), count);
        }
        for (trigger, state, count) in open {
            let state = RunState::try_from(state).map_err(shared::error::Error::bug)?;
            totals.0.insert((trigger.0, state), count.unsigned_abs());
        }
        Ok(totals)
    }

    /// Counts all settled runs again, because runs may have been removed or replayed.
    pub(super) async fn count_anew(&self) -> Result<()> {
        if self.0.settled.lock().await.is_none() {
            return self.totals().await.map(drop);
        }
        let until = self.database_time().await? - SETTLED_AFTER;
        let complete = self.complete(None, Some(until)).await?;
        *self.0.settled.lock().await = Some(Settled { until, complete });
        Ok(())
    }

    /// How many Jobs of each trigger completed in the last `within`.
    pub async fn completed_within(&self, time: Duration) -> Result<BTreeMap<String, u64>> {
        let since = self.database_time().await? - time;
        self.complete(Some(since), None).await
    }

    async fn complete(
        &self,
        from: Option<NaiveDateTime>,
        to: Option<NaiveDateTime>,
    ) -> Result<BTreeMap<String, u64>> {
        let counts: Vec<Count> = rows!(&self.0.database.read, query => {
            query.push("SELECT trigger_name, COUNT(*) FROM job_runs WHERE state = 'complete' AND superseded = 0");
            if let Some(from) = from {
                query.push(" AND seen_at >= ").push_bind(from);
            }
            if let Some(to) = to {
                query.push(" AND seen_at < ").push_bind(to);
            }
            query.push(" GROUP BY trigger_name");
        })
        .map_err(explain)?;
        Ok(counts.into_iter().map(|(trigger, count)| (trigger.0, count.unsigned_abs())).collect())
    }

    async fn database_time(&self) -> Result<NaiveDateTime> {
        let pool = &self.0.database.read;
        let now: Vec<(NaiveDateTime,)> =
            rows!(pool, query => { query.push("SELECT ").push(pool.now()); }).map_err(explain)?;
        Ok(now.first().map_or_else(|| Utc::now().naive_utc(), |row| row.0))
    }

    /// The newest runs of a flow, oldest first.
    pub async fn runs_of(&self, flow_key: &str, limit: usize) -> Result<Vec<Run>> {
        let key = key_of(flow_key);
        let mut runs: Vec<Run> = rows!(&self.0.database.read, query => {
            query.push("SELECT * FROM job_runs WHERE flow_key = ").push_bind(&key);
            query.push(" ORDER BY handed_at DESC, id LIMIT ").push_bind(amount(limit));
        })
        .map_err(explain)?;
        runs.reverse();
        Ok(runs)
    }

    /// The newest runs of a trigger, newest first.
    pub async fn runs_by(&self, trigger: &str, limit: usize) -> Result<Vec<Run>> {
        rows!(&self.0.database.read, query => {
            query.push("SELECT * FROM job_runs WHERE trigger_name = ").push_bind(trigger);
            query.push(" ORDER BY handed_at DESC LIMIT ").push_bind(amount(limit));
        })
        .map_err(explain)
    }

    /// One run.
    pub async fn run(&self, id: &str) -> Result<Option<Run>> {
        let found: sqlx::Result<Vec<Run>> = rows!(&self.0.database.read, query => {
            query.push("SELECT * FROM job_runs WHERE id = ").push_bind(id);
        });
        Ok(found.map_err(explain)?.pop())
    }
}

fn add(counts: &mut BTreeMap<String, u64>, more: BTreeMap<String, u64>) {
    for (trigger, count) in more {
        *counts.entry(trigger).or_default() += count;
    }
}
