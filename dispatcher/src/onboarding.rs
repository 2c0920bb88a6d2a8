//! The flow of customers: the state of each, from what the workers have written about it and the results of its Jobs.
//!
//! Reads the workers' tables `customers` and `handled_events` together with the history. A customer is onboarded when
//! `customers.onboarded_at` says so, independent of the manifests in force.
//!
//! This is the only module of the dispatcher that knows customers and the steps of their flow.

pub mod customer;
mod list;
mod reconcile;
mod state;
pub mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::{NaiveDateTime, TimeDelta, Utc};
use shared::error::Result;

use history::{History, explain, rows};

pub use list::{Cursor, Wanted};
pub use reconcile::Reconcile;
pub use state::{CustomerState, Stage};

/// Clocks of workers differ. A customer that was onboarded earlier than this is certainly in the table by now.
const SETTLED_AFTER: TimeDelta = TimeDelta::hours(2);

/// After this long, all customers are counted again. A worker or a process whose clock is far off may have put some
/// into the wrong group.
const COUNT_AGAIN: TimeDelta = TimeDelta::minutes(1);

/// The customers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Customers {
    history: History,
    /// The customers onboarded before a certain time, because counting all of them takes longer than a page may.
    settled: Arc<tokio::sync::Mutex<Option<(NaiveDateTime, u64)>>>,
}

/// The number of customers in each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages([u64; Stage::ALL.len()]);

impl Stages {
    /// Customers in a stage.
    pub fn count(&self, stage: Stage) -> u64 {
        Stage::ALL.iter().zip(self.0).find(|(one, _)| **one == stage).map_or(0, |(_, count)| count)
    }
}

impl Customers {
    /// The customers in this history.
    pub fn new(history: History) -> Self {
        Self { history, settled: Arc::default() }
    }

    /// The number of customers in each stage.
    pub async fn stages(&self) -> Result<Stages> {
        let onboarded = self.onboarded().await?;
        let open: Vec<(i64, i64, i64)> = rows!(self.history.pool(), query => {
            query.push("SELECT stage, known, COUNT(*) FROM (SELECT f.stage, CASE WHEN c.id IS NULL THEN 0 ELSE 1 END AS known FROM (");
            query.push(list::flows(&self.history, false));
            query.push(") f LEFT JOIN customers c ON c.id = f.flow_key WHERE c.onboarded_at IS NULL) x GROUP BY stage, known");
        })
        .map_err(explain)?;
        let under_way: Vec<(i64,)> = rows!(self.history.pool(), query => {
            query.push("SELECT COUNT(*) FROM customers WHERE onboarded_at IS NULL");
        })
        .map_err(explain)?;
        let count = |wanted: Stage, known: &[i64]| -> i64 {
            let here =
                open.iter().filter(|(code, of, _)| Stage::of_code(*code) == wanted && known.contains(of));
            here.map(|(_, _, count)| count).sum()
        };
        let elsewhere: i64 =
            [Stage::Stuck, Stage::Retrying, Stage::GivenUp].map(|stage| count(stage, &[1])).iter().sum();
        let under_way = under_way.first().map_or(0, |row| row.0) - elsewhere + count(Stage::UnderWay, &[0]);
        Ok(Stages(Stage::ALL.map(|stage| match stage {
            Stage::Onboarded => onboarded,
            Stage::UnderWay => under_way.try_into().unwrap_or(0),
            other => count(other, &[0, 1]).unsigned_abs(),
        })))
    }

    async fn onboarded(&self) -> Result<u64> {
        let until = Utc::now().naive_utc() - SETTLED_AFTER;
        let mut settled = self.settled.lock().await;
        let (from, count) = match *settled {
            Some((from, count)) if (until - from).abs() < COUNT_AGAIN => (from, count),
            _ => *settled.insert((until, self.onboarded_between(None, Some(until)).await?)),
        };
        drop(settled);
        Ok(count + self.onboarded_between(Some(from), None).await?)
    }

    async fn onboarded_between(&self, from: Option<NaiveDateTime>, to: Option<NaiveDateTime>) -> Result<u64> {
        let counted: Vec<(i64,)> = rows!(self.history.pool(), query => {
            query.push("SELECT COUNT(*) FROM customers WHERE onboarded_at IS NOT NULL");
            if let Some(from) = from {
                query.push(" AND onboarded_at >= ").push_bind(from);
            }
            if let Some(to) = to {
                query.push(" AND onboarded_at < ").push_bind(to);
            }
        })
        .map_err(explain)?;
        Ok(counted.first().map_or(0, |row| row.0.unsigned_abs()))
    }
}
