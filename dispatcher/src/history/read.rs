//! What page and commands ask of the history.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::database::{Connection, Value};
use shared::error::Result;

use super::customer::{COLUMNS as CUSTOMER, CustomerState};
use super::run::{COLUMNS as RUN, Run, customer_key};
use super::{History, RunState, Stage, Totals};

/// Which customers to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// In this stage only.
    pub stage: Option<Stage>,
    /// An id, or a part of a name; case does not matter.
    pub text: String,
    /// Begin after this one.
    pub after: Option<Cursor>,
    /// At most so many.
    pub limit: usize,
}

/// A place in the list of all customers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Stage,
    pub stage: Stage,
    /// the order within it,
    pub position: i64,
    /// and the id, where that is equal.
    pub id: String,
}

impl From<&CustomerState> for Cursor {
    fn from(state: &CustomerState) -> Self {
        Self { stage: state.stage, position: state.position, id: state.id.clone() }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.stage.code(), self.position, self.id)
    }
}

impl std::str::FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(());
        let stage = part()?.parse().ok().and_then(|code| Stage::parse(code).ok()).ok_or(())?;
        let position = part()?.parse().map_err(|_| ())?;
        Ok(Self { stage, position, id: part()?.to_owned() })
    }
}

impl History {
    /// How many there are of everything.
    pub async fn totals(&self) -> Result<Totals> {
        let mut lease = self.0.connections.lease().await?;
        let totals = Totals::read(lease.get()?).await?;
        lease.done();
        Ok(totals)
    }

    /// How many Jobs of each trigger completed within the time before now.
    pub async fn completed_within(&self, time: Duration) -> Result<BTreeMap<String, u64>> {
        // Counted here: grouped in SQL, SQLite walks along the index of all complete runs instead of the last minute's.
        let sql = "SELECT trigger_name, state FROM job_runs WHERE ended_at >= ?";
        let mut lease = self.0.connections.lease().await?;
        let rows = lease.get()?.rows(sql, &[(Utc::now() - time).into()]).await?;
        lease.done();
        let mut counts = BTreeMap::new();
        for row in &rows {
            if row.text(1)? == RunState::Complete.as_str() {
                *counts.entry(row.text(0)?).or_insert(0) += 1;
            }
        }
        Ok(counts)
    }

    /// Customers in order: stuck ones first. One more than `limit` is never answered: where as many come, there may be more.
    pub async fn customers(&self, wanted: &Wanted) -> Result<Vec<CustomerState>> {
        let mut lease = self.0.connections.lease().await?;
        let found = customers(lease.get()?, wanted).await?;
        lease.done();
        Ok(found)
    }

    /// One customer.
    pub async fn customer(&self, id: &str) -> Result<Option<CustomerState>> {
        let mut lease = self.0.connections.lease().await?;
        let sql = format!("SELECT {CUSTOMER} FROM customer_states WHERE id = ?");
        let row = lease.get()?.row(&sql, &[customer_key(id).as_str().into()]).await?;
        lease.done();
        row.map(|row| CustomerState::read(&row)).transpose()
    }

    /// The newest runs of a customer, oldest first.
    pub async fn runs_of(&self, customer: &str, limit: usize) -> Result<Vec<Run>> {
        let key = customer_key(customer);
        let sql =
            format!("SELECT {RUN} FROM job_runs WHERE customer_id = ? ORDER BY handed_at DESC, id LIMIT ?");
        let mut runs = self.runs(&sql, &[key.as_str().into(), amount(limit)]).await?;
        runs.reverse();
        Ok(runs)
    }

    /// The newest runs of a trigger, newest first.
    pub async fn runs_by(&self, trigger: &str, limit: usize) -> Result<Vec<Run>> {
        let sql =
            format!("SELECT {RUN} FROM job_runs WHERE trigger_name = ? ORDER BY handed_at DESC LIMIT ?");
        self.runs(&sql, &[trigger.into(), amount(limit)]).await
    }

    /// One run.
    pub async fn run(&self, id: &str) -> Result<Option<Run>> {
        let sql = format!("SELECT {RUN} FROM job_runs WHERE id = ?");
        Ok(self.runs(&sql, &[id.into()]).await?.pop())
    }

    /// When a Job ended last, in whatever way.
    pub async fn last_end(&self) -> Result<Option<DateTime<Utc>>> {
        let mut lease = self.0.connections.lease().await?;
        let row = lease.get()?.row("SELECT MAX(ended_at) FROM job_runs", &[]).await?;
        lease.done();
        row.map_or(Ok(None), |row| row.optional_time(0))
    }

    async fn runs(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Run>> {
        let mut lease = self.0.connections.lease().await?;
        let rows = lease.get()?.rows(sql, values).await?;
        lease.done();
        rows.iter().map(Run::read).collect()
    }
}

/// First the rest of the cursor's stage, then the stages after it: each is a walk along the index.
async fn customers(database: &mut Connection, wanted: &Wanted) -> Result<Vec<CustomerState>> {
    let text = wanted.text.trim().to_lowercase();
    let like = format!("%{}%", escaped(&text));
    let by_text = if text.is_empty() { "" } else { " AND (search LIKE ? ESCAPE '!' OR id = ?)" };
    let mut found = Vec::new();
    let stages: Vec<Stage> = match wanted.stage {
        Some(stage) => vec![stage],
        None => Stage::ALL.to_vec(),
    };
    for stage in stages {
        let missing = wanted.limit.saturating_sub(found.len());
        let cursor = wanted.after.as_ref();
        if missing == 0 || cursor.is_some_and(|cursor| cursor.stage > stage) {
            continue;
        }
        let cursor = cursor.filter(|cursor| cursor.stage == stage);
        let mut values: Vec<Value<'_>> = vec![stage.code().into()];
        let after = cursor.map_or("", |cursor| {
            values.extend([cursor.position.into(), cursor.position.into(), Value::from(cursor.id.as_str())]);
            " AND position >= ? AND (position > ? OR id > ?)"
        });
        if !text.is_empty() {
            values.extend([like.as_str().into(), Value::from(wanted.text.trim())]);
        }
        values.push(amount(missing));
        let sql = format!(
            "SELECT {CUSTOMER} FROM customer_states WHERE stage = ?{after}{by_text} ORDER BY position, id LIMIT ?"
        );
        for row in database.rows(&sql, &values).await? {
            found.push(CustomerState::read(&row)?);
        }
    }
    Ok(found)
}

/// For `LIKE`, whose own signs are to mean themselves.
fn escaped(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

fn amount(limit: usize) -> Value<'static> {
    Value::Integer(limit.try_into().unwrap_or(i64::MAX))
}
