//! The list of customers: stuck ones first, with search and pages. Each page reads along an index, or only runs that
//! are not complete.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime};
use shared::error::Result;

use super::customer::as_workers_write;
use super::state::{Known, Part};
use super::{CustomerState, Customers, Stage};
use history::{History, MaybeText, RunState, Text, explain, key_of, list, row, rows};

/// The most failed runs that are read to find the reasons on one page.
const REASONS: i64 = 1_000;

/// Selects the customers to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only in this stage.
    pub stage: Option<Stage>,
    /// An id, or a part of a name, in any case.
    pub text: String,
    /// Begin after this customer.
    pub after: Option<Cursor>,
    /// At most this many.
    pub limit: usize,
}

/// A position in the list of all customers: the stage, the time that orders it, another time if the first is equal,
/// and the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    stage: Stage,
    at: NaiveDateTime,
    then: NaiveDateTime,
    id: String,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = |time: NaiveDateTime| time.and_utc().timestamp_nanos_opt().unwrap_or_default();
        write!(f, "{}.{}.{}.{}", self.stage.code(), nanos(self.at), nanos(self.then), self.id)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let mut parts = text.splitn(4, '.');
        let mut part = || parts.next().ok_or(());
        let code = part()?;
        let stage = Stage::ALL.into_iter().find(|stage| stage.code().to_string() == code).ok_or(())?;
        let mut time = || -> std::result::Result<_, ()> {
            Ok(DateTime::from_timestamp_nanos(part()?.parse().map_err(|_| ())?).naive_utc())
        };
        let (at, then) = (time()?, time()?);
        Ok(Self { stage, at, then, id: part()?.to_owned() })
    }
}

/// A customer in the list, with its position.
struct ListRow {
    id: String,
    at: NaiveDateTime,
    then_at: NaiveDateTime,
}

row!(ListRow { id: Text = "id", at: NaiveDateTime = "at", then_at: NaiveDateTime = "then_at" });

/// One row for each flow with a run that is not complete: the code of its stage, and its first and last times. A
/// history in memory has no table of customers, so there flows with only complete runs are included too.
pub(super) fn flows(history: &History, named: bool) -> String {
    let states =
        if history.is_in_memory() { String::new() } else { format!(" AND state IN {}", RunState::OPEN) };
    let name = if named { ", MAX(flow_name) AS flow_name" } else { "" };
    format!(
        "SELECT flow_key, MIN(CASE state WHEN 'failed' THEN 0 WHEN 'try_again' THEN 1 WHEN 'running' THEN 2 \
         WHEN 'handed_back' THEN 2 WHEN 'dropped' THEN 4 ELSE 5 END) AS stage, MIN(handed_at) AS began, \
         MAX(COALESCE(ended_at, handed_at)) AS latest{name} FROM job_runs \
         WHERE superseded = 0 AND flow_key <> ''{states} GROUP BY flow_key"
    )
}

impl Customers {
    /// Customers in order, stuck ones first.
    pub async fn list(&self, wanted: &Wanted) -> Result<Vec<(CustomerState, Cursor)>> {
        let mut found = Vec::new();
        for stage in Stage::ALL {
            let missing = wanted.limit.saturating_sub(found.len());
            let passed = wanted.after.as_ref().is_some_and(|cursor| cursor.stage > stage);
            if missing == 0 || passed || wanted.stage.is_some_and(|only| only != stage) {
                continue;
            }
            let after = wanted.after.as_ref().filter(|cursor| cursor.stage == stage);
            let listed = match stage {
                Stage::Onboarded => self.onboarded_after(after, &wanted.text, missing).await?,
                Stage::UnderWay => self.under_way_after(after, &wanted.text, missing).await?,
                stage => self.flows_after(stage, after, &wanted.text, missing).await?,
            };
            found.extend(listed.into_iter().map(|row| Cursor {
                stage,
                at: row.at,
                then: row.then_at,
                id: row.id,
            }));
        }
        let ids: Vec<&str> = found.iter().map(|cursor| cursor.id.as_str()).collect();
        let mut states = self.states(&ids).await?;
        Ok(found.into_iter().filter_map(|cursor| Some((states.remove(&cursor.id)?, cursor))).collect())
    }

    /// One customer.
    pub async fn one(&self, id: &str) -> Result<Option<CustomerState>> {
        let key = key_of(&as_workers_write(id));
        Ok(self.states(&[&key]).await?.remove(&key))
    }

    /// Onboarded customers, newest first.
    async fn onboarded_after(
        &self,
        after: Option<&Cursor>,
        text: &str,
        limit: usize,
    ) -> Result<Vec<ListRow>> {
        let search = Search::new(text);
        rows!(self.history.pool(), query => {
            query.push("SELECT id, onboarded_at AS at, started_at AS then_at FROM customers WHERE onboarded_at IS NOT NULL");
            if let Some(Cursor { at, then, id, .. }) = after {
                query.push(" AND onboarded_at <= ").push_bind(*at);
                query.push(" AND (onboarded_at < ").push_bind(*at).push(" OR started_at < ").push_bind(*then);
                query.push(" OR (started_at = ").push_bind(*then).push(" AND id < ").push_bind(id.as_str()).push("))");
            }
            if let Some(search) = &search {
                query.push(" AND (LOWER(name) LIKE ").push_bind(search.like.as_str());
                query.push(" ESCAPE '!' OR id = ").push_bind(search.id.as_str()).push(")");
            }
            query.push(" ORDER BY onboarded_at DESC, started_at DESC, id DESC LIMIT ").push_bind(amount(limit));
        })
        .map_err(explain)
    }

    /// Customers under way, longest first: registered customers in no other stage, and flows that are not registered
    /// yet.
    async fn under_way_after(
        &self,
        after: Option<&Cursor>,
        text: &str,
        limit: usize,
    ) -> Result<Vec<ListRow>> {
        let search = Search::new(text);
        let codes = " IN (2, 5)";
        let mut listed: Vec<ListRow> = rows!(self.history.pool(), query => {
            query.push("SELECT c.id, c.started_at AS at, c.started_at AS then_at FROM customers c LEFT JOIN (");
            query.push(flows(&self.history, false));
            query.push(") f ON f.flow_key = c.id WHERE c.onboarded_at IS NULL AND COALESCE(f.stage, 2)").push(codes);
            if let Some(Cursor { at, id, .. }) = after {
                query.push(" AND c.started_at >= ").push_bind(*at).push(" AND (c.started_at > ").push_bind(*at);
                query.push(" OR c.id > ").push_bind(id.as_str()).push(")");
            }
            if let Some(search) = &search {
                query.push(" AND (LOWER(c.name) LIKE ").push_bind(search.like.as_str());
                query.push(" ESCAPE '!' OR c.id = ").push_bind(search.id.as_str()).push(")");
            }
            query.push(" ORDER BY c.started_at, c.id LIMIT ").push_bind(amount(limit));
        })
        .map_err(explain)?;
        let strangers: Vec<ListRow> = rows!(self.history.pool(), query => {
            query.push("SELECT f.flow_key AS id, f.began AS at, f.began AS then_at FROM (");
            query.push(flows(&self.history, search.is_some()));
            query.push(") f LEFT JOIN customers c ON c.id = f.flow_key WHERE c.id IS NULL AND f.stage").push(codes);
            if let Some(Cursor { at, id, .. }) = after {
                query.push(" AND f.began >= ").push_bind(*at).push(" AND (f.began > ").push_bind(*at);
                query.push(" OR f.flow_key > ").push_bind(id.as_str()).push(")");
            }
            if let Some(search) = &search {
                query.push(" AND (LOWER(f.flow_name) LIKE ").push_bind(search.like.as_str());
                query.push(" ESCAPE '!' OR f.flow_key = ").push_bind(search.id.as_str()).push(")");
            }
            query.push(" ORDER BY f.began, f.flow_key LIMIT ").push_bind(amount(limit));
        })
        .map_err(explain)?;
        listed.extend(strangers);
        listed.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
        listed.truncate(limit);
        Ok(listed)
    }

    /// Flows in this stage: longest first, or newest first if the stage is an end.
    async fn flows_after(
        &self,
        stage: Stage,
        after: Option<&Cursor>,
        text: &str,
        limit: usize,
    ) -> Result<Vec<ListRow>> {
        let search = Search::new(text);
        let (beyond, order) = if stage.is_end() { ("<", " DESC") } else { (">", "") };
        rows!(self.history.pool(), query => {
            query.push("SELECT f.flow_key AS id, f.latest AS at, f.latest AS then_at FROM (");
            query.push(flows(&self.history, search.is_some()));
            query.push(") f LEFT JOIN customers c ON c.id = f.flow_key WHERE c.onboarded_at IS NULL AND f.stage = ");
            query.push_bind(stage.code());
            if let Some(Cursor { at, id, .. }) = after {
                query.push(" AND (f.latest ").push(beyond).push(" ").push_bind(*at).push(" OR (f.latest = ");
                query.push_bind(*at).push(" AND f.flow_key > ").push_bind(id.as_str()).push("))");
            }
            if let Some(search) = &search {
                query.push(" AND (LOWER(COALESCE(c.name, f.flow_name)) LIKE ").push_bind(search.like.as_str());
                query.push(" ESCAPE '!' OR f.flow_key = ").push_bind(search.id.as_str()).push(")");
            }
            query.push(" ORDER BY f.latest").push(order).push(", f.flow_key LIMIT ").push_bind(amount(limit));
        })
        .map_err(explain)
    }

    /// Everything known about these customers.
    async fn states(&self, ids: &[&str]) -> Result<BTreeMap<String, CustomerState>> {
        let mut states = BTreeMap::new();
        if ids.is_empty() {
            return Ok(states);
        }
        let pool = self.history.pool();
        let mut known: Vec<Known> = rows!(pool, query => {
            query.push("SELECT id, name, subscription_tier, started_at, onboarded_at FROM customers WHERE id IN ");
            list!(query, ids.iter().copied());
        })
        .map_err(explain)?;
        let strangers: Vec<&&str> = ids.iter().filter(|id| !known.iter().any(|one| one.id == **id)).collect();
        if !strangers.is_empty() {
            let told: Vec<Known> = rows!(pool, query => {
                query.push("SELECT flow_key AS id, MAX(flow_name) AS name, '' AS subscription_tier, ");
                query.push("MIN(published_at) AS started_at, CAST(NULL AS DATETIME) AS onboarded_at ");
                query.push("FROM job_runs WHERE flow_key IN ");
                list!(query, strangers.iter().map(|id| **id));
                query.push(" GROUP BY flow_key");
            })
            .map_err(explain)?;
            known.extend(told);
        }
        let parts: Vec<Part> = rows!(pool, query => {
            query.push("SELECT flow_key, trigger_name, state, COUNT(*) AS runs, MAX(COALESCE(ended_at, handed_at)) AS latest ");
            query.push("FROM job_runs WHERE superseded = 0 AND flow_key IN ");
            list!(query, ids.iter().copied());
            query.push(" GROUP BY flow_key, trigger_name, state");
        })
        .map_err(explain)?;
        let mut by_flow: BTreeMap<String, Vec<Part>> = BTreeMap::new();
        for part in parts {
            by_flow.entry(part.flow_key.clone()).or_default().push(part);
        }
        let reasons: Vec<(Text, Text, MaybeText)> = rows!(pool, query => {
            query.push("SELECT flow_key, state, message FROM job_runs WHERE superseded = 0 ");
            query.push("AND state IN ('failed', 'try_again', 'dropped') AND flow_key IN ");
            list!(query, ids.iter().copied());
            query.push(" ORDER BY handed_at DESC LIMIT ").push_bind(REASONS);
        })
        .map_err(explain)?;
        for one in known {
            let id = one.id.clone();
            let reason = |state: RunState| {
                let of = |(flow, of, _): &&(Text, Text, MaybeText)| flow.0 == id && of.0 == state.as_str();
                reasons.iter().find(of).and_then(|(_, _, message)| message.0.clone())
            };
            let parts = by_flow.remove(&id).unwrap_or_default();
            states.insert(id.clone(), CustomerState::new(one, &parts, reason));
        }
        Ok(states)
    }
}

/// The text to search for.
struct Search {
    like: String,
    id: String,
}

impl Search {
    fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        // For `LIKE`, in which the text's own special characters must be escaped.
        let escaped = text.to_lowercase().replace('!', "!!").replace('%', "!%").replace('_', "!_");
        (!text.is_empty()).then(|| Self { like: format!("%{escaped}%"), id: as_workers_write(text) })
    }
}

fn amount(limit: usize) -> i64 {
    limit.try_into().unwrap_or(i64::MAX)
}
