//! Where a customer is: what follows from its runs.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use shared::database::{Connection, Failure, Row, Value, marks, rows};
use shared::error::{Error, Result};

use super::RunState;
use super::fold::groups;
use super::run::{customer_key, fit};
use super::totals::Totals;

/// What a customer needs first: attention, patience, or nothing. In the order of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A Job failed for good.
    Stuck,
    /// A Job failed and is tried again.
    Retrying,
    /// Jobs run, or their events wait.
    UnderWay,
    /// At the end of the flow.
    Onboarded,
    /// An operator dropped an event of it that had failed, and nothing else of it goes on.
    GivenUp,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Stuck, Self::Retrying, Self::UnderWay, Self::Onboarded, Self::GivenUp];

    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Stuck => 0,
            Self::Retrying => 1,
            Self::UnderWay => 2,
            Self::Onboarded => 3,
            Self::GivenUp => 4,
        }
    }

    /// Whether nothing is to come any more: then the newest is the first of the list, and else whoever waits longest.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Onboarded | Self::GivenUp)
    }

    /// The state of the runs that tell why a customer does not go on.
    const fn telling(self) -> Option<RunState> {
        match self {
            Self::Stuck => Some(RunState::Failed),
            Self::Retrying => Some(RunState::TryAgain),
            Self::GivenUp => Some(RunState::Dropped),
            Self::UnderWay | Self::Onboarded => None,
        }
    }

    pub(super) fn parse(code: i64) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|stage| stage.code() == code);
        found.ok_or_else(|| Error::bug(format!("{code} is no stage of a customer")))
    }

    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Retrying => "trying again",
            Self::UnderWay => "under way",
            Self::Onboarded => "onboarded",
            Self::GivenUp => "given up",
        }
    }
}

/// Where a customer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerState {
    /// Its id, or what events call it.
    pub id: String,
    /// Its name; empty where no event had it.
    pub name: String,
    /// What it subscribed to; empty where that is not known.
    pub tier: String,
    /// What it needs.
    pub stage: Stage,
    /// The order within its stage: longest first, but newest first for those at an end.
    pub position: i64,
    /// The trigger that tells where it is; empty before the first.
    pub step: String,
    /// Why it does not go on.
    pub reason: Option<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When something happened last.
    pub changed_at: DateTime<Utc>,
    /// When it was done.
    pub onboarded_at: Option<DateTime<Utc>>,
    /// Jobs that completed.
    pub done: i64,
    /// Jobs that run or are to be tried again.
    pub open: i64,
    /// Jobs that failed for good.
    pub failed: i64,
}

pub(super) const COLUMNS: &str =
    "id, name, tier, stage, position, step, reason, started_at, changed_at, onboarded_at, done, open, failed";

impl CustomerState {
    pub(super) fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.text(0)?,
            name: row.text(1)?,
            tier: row.text(2)?,
            stage: Stage::parse(row.integer(3)?)?,
            position: row.integer(4)?,
            step: row.text(5)?,
            reason: row.optional_text(6)?,
            started_at: row.time(7)?,
            changed_at: row.time(8)?,
            onboarded_at: row.optional_time(9)?,
            done: row.integer(10)?,
            open: row.integer(11)?,
            failed: row.integer(12)?,
        })
    }

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            self.id.as_str().into(),
            self.name.as_str().into(),
            self.tier.as_str().into(),
            self.stage.code().into(),
            self.position.into(),
            self.step.as_str().into(),
            self.reason.as_deref().into(),
            self.started_at.into(),
            self.changed_at.into(),
            self.onboarded_at.into(),
            self.done.into(),
            self.open.into(),
            self.failed.into(),
            // Some letters are longer in lower case.
            Value::Text(fit(&self.name.to_lowercase(), 128).into()),
        ]
    }
}

/// What a batch of runs tells of a customer beside the runs themselves.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// The name in the event's data, or nothing.
    pub(super) name: String,
    /// When its first event of the batch was published.
    pub(super) published_at: DateTime<Utc>,
}

/// What the runs of a customer with one trigger and state have in common.
struct Part {
    trigger: String,
    state: RunState,
    count: i64,
    latest: DateTime<Utc>,
}

/// What the workers have written about a customer.
struct Saved {
    name: String,
    tier: String,
    started_at: DateTime<Utc>,
    onboarded_at: Option<DateTime<Utc>>,
}

/// Brings these customers up to date with their runs, in one order for all writers. Whoever comes second waits for the
/// first, and sees what it has written.
pub(super) async fn refresh(
    database: &mut Connection,
    words: &BTreeMap<String, Word>,
    last: &BTreeSet<String>,
    totals: &mut Totals,
) -> Result<()> {
    let ids: Vec<&str> = words.keys().map(String::as_str).collect();
    for group in groups(&ids) {
        let before = locked(database, group).await?;
        let mut parts = parts(database, group).await?;
        let mut saved = saved(database, group).await?;
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for id in group {
            let Some(word) = words.get(*id) else { continue };
            let parts = parts.remove(*id).unwrap_or_default();
            let known = before.get(*id);
            let mut state = derive(id, word, &parts, saved.remove(*id), known, last);
            if let Some(telling) = state.stage.telling() {
                state.reason = reason(database, id, telling).await?;
            }
            totals.count_customer(state.stage, 1);
            match known {
                None => new.push(state),
                Some(known) => {
                    totals.count_customer(known.stage, -1);
                    changed.push(state);
                }
            }
        }
        store(database, "INSERT", &new).await?;
        store(database, "REPLACE", &changed).await?;
    }
    Ok(())
}

fn derive(
    id: &str,
    word: &Word,
    parts: &[Part],
    saved: Option<Saved>,
    known: Option<&CustomerState>,
    last: &BTreeSet<String>,
) -> CustomerState {
    let count = |states: &[RunState]| {
        parts.iter().filter(|part| states.contains(&part.state)).map(|part| part.count).sum::<i64>()
    };
    let latest = |states: &[RunState]| {
        parts.iter().filter(|part| states.contains(&part.state)).max_by_key(|part| part.latest)
    };
    let at_the_end =
        parts.iter().filter(|part| part.state == RunState::Complete && last.contains(&part.trigger));
    let at_the_end = at_the_end.map(|part| part.latest).max();
    let onboarded_at = saved.as_ref().and_then(|saved| saved.onboarded_at).or(at_the_end);
    let onboarded_at = onboarded_at.or_else(|| known.and_then(|known| known.onboarded_at));
    let stage = match () {
        () if onboarded_at.is_some() => Stage::Onboarded,
        () if count(&[RunState::Failed]) > 0 => Stage::Stuck,
        () if count(&[RunState::TryAgain]) > 0 => Stage::Retrying,
        () if count(&[RunState::Running, RunState::HandedBack]) > 0 => Stage::UnderWay,
        () if count(&[RunState::Dropped]) > 0 => Stage::GivenUp,
        () => Stage::UnderWay,
    };
    let telling = match stage {
        Stage::UnderWay => latest(&[RunState::Running, RunState::HandedBack]),
        stage => stage.telling().and_then(|state| latest(&[state])),
    };
    let telling = telling.or_else(|| latest(&RunState::ALL));
    let changed_at = match stage {
        Stage::Onboarded => onboarded_at,
        _ => telling.map(|part| part.latest),
    };
    let changed_at = changed_at.unwrap_or(word.published_at);
    let direction = if stage.is_end() { -1 } else { 1 };
    let told = || Some(word.name.clone()).filter(|name| !name.is_empty());
    let name = saved.as_ref().map(|saved| saved.name.clone()).or_else(told);
    let began = known.map_or(word.published_at, |known| known.started_at.min(word.published_at));
    CustomerState {
        id: id.to_owned(),
        name: fit(&name.or_else(|| known.map(|known| known.name.clone())).unwrap_or_default(), 128),
        tier: fit(
            &saved
                .as_ref()
                .map(|saved| saved.tier.clone())
                .or_else(|| known.map(|known| known.tier.clone()))
                .unwrap_or_default(),
            32,
        ),
        stage,
        position: direction * changed_at.timestamp_micros(),
        step: telling.map(|part| part.trigger.clone()).unwrap_or_default(),
        reason: None,
        started_at: saved.map_or(began, |saved| saved.started_at.min(began)),
        changed_at,
        onboarded_at,
        done: count(&[RunState::Complete]),
        open: count(&[RunState::Running, RunState::TryAgain, RunState::HandedBack]),
        failed: count(&[RunState::Failed]),
    }
}

async fn locked(database: &mut Connection, ids: &[&str]) -> Result<BTreeMap<String, CustomerState>> {
    let sql = format!("SELECT {COLUMNS} FROM customer_states WHERE id IN ({}) ORDER BY id", marks(ids.len()));
    let found = database.locked_rows(&sql, &values(ids)).await?;
    found.iter().map(|row| CustomerState::read(row).map(|state| (customer_key(&state.id), state))).collect()
}

async fn parts(database: &mut Connection, ids: &[&str]) -> Result<BTreeMap<String, Vec<Part>>> {
    let sql = format!(
        "SELECT customer_id, trigger_name, state, COUNT(*), MAX(COALESCE(ended_at, handed_at)) FROM job_runs \
         WHERE superseded = 0 AND customer_id IN ({}) GROUP BY customer_id, trigger_name, state",
        marks(ids.len())
    );
    let mut parts: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for row in database.rows(&sql, &values(ids)).await? {
        parts.entry(customer_key(&row.text(0)?)).or_default().push(Part {
            trigger: row.text(1)?,
            state: RunState::parse(&row.text(2)?)?,
            count: row.integer(3)?,
            latest: row.time(4)?,
        });
    }
    Ok(parts)
}

async fn saved(database: &mut Connection, ids: &[&str]) -> Result<BTreeMap<String, Saved>> {
    let sql = format!(
        "SELECT id, name, subscription_tier, started_at, onboarded_at FROM customers WHERE id IN ({})",
        marks(ids.len())
    );
    let mut saved = BTreeMap::new();
    for row in database.rows(&sql, &values(ids)).await? {
        let one = Saved {
            name: row.text(1)?,
            tier: row.text(2)?,
            started_at: row.time(3)?,
            onboarded_at: row.optional_time(4)?,
        };
        saved.insert(row.text(0)?, one);
    }
    Ok(saved)
}

async fn reason(database: &mut Connection, id: &str, state: RunState) -> Result<Option<String>> {
    let sql = "SELECT message FROM job_runs WHERE customer_id = ? AND superseded = 0 AND state = ? \
               ORDER BY handed_at DESC LIMIT 1";
    let row = database.row(sql, &[id.into(), state.as_str().into()]).await?;
    row.map_or(Ok(None), |row| row.optional_text(0))
}

async fn store(database: &mut Connection, verb: &str, states: &[CustomerState]) -> Result<()> {
    for group in groups(states) {
        let sql = format!("{verb} INTO customer_states ({COLUMNS}, search) VALUES {}", rows(group.len(), 14));
        let values: Vec<_> = group.iter().flat_map(CustomerState::values).collect();
        match database.execute(&sql, &values).await {
            Ok(_) => {}
            // Counted by whoever wrote it: the next try finds its row.
            Err(Failure::Duplicate(_)) => {
                return Err(Error::unavailable("another dispatcher wrote the same customer first"));
            }
            Err(Failure::Other(error)) => return Err(error),
        }
    }
    Ok(())
}

fn values<'a>(ids: &[&'a str]) -> Vec<Value<'a>> {
    ids.iter().map(|id| Value::from(*id)).collect()
}
