//! An event that failed was dropped by an operator: nothing of it is waited for any more, and its customer says so.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use shared::database::{Connection, Value};
use shared::error::Result;

use super::customer::{self, Word};
use super::run::{customer_key, fit};
use super::totals::Totals;
use super::{History, RunState};

/// A deadlock with a writer is over at the next try.
const TRIES: u32 = 5;

impl History {
    /// Marks the runs of this event as dropped, but for those that completed.
    pub async fn give_up(&self, customer: &str, event_id: &str, nats_subject: &str) -> Result<()> {
        let key = (customer_key(customer), fit(event_id, 255), fit(nats_subject, 255));
        let mut tries = 1;
        loop {
            let mut lease = self.0.connections.lease().await?;
            let done = give_up(lease.get()?, (&key.0, &key.1, &key.2)).await;
            if done.is_ok() {
                lease.done();
                self.0.written.send_modify(|count| *count += 1);
            }
            if done.is_ok() || tries == TRIES {
                return done;
            }
            tries += 1;
        }
    }
}

async fn give_up(
    database: &mut Connection,
    (customer, event_id, nats_subject): (&str, &str, &str),
) -> Result<()> {
    database.begin().await?;
    let these = "customer_id = ? AND superseded = 0 AND event_id = ? AND nats_subject = ? \
                 AND state NOT IN ('complete', 'dropped')";
    let key: [Value<'_>; 3] = [customer.into(), event_id.into(), nats_subject.into()];
    let runs = format!("SELECT trigger_name, state, published_at FROM job_runs WHERE {these} ORDER BY id");
    let runs = database.locked_rows(&runs, &key).await?;
    let mut totals = Totals::default();
    let mut published_at = Utc::now();
    for run in &runs {
        let trigger = run.text(0)?;
        totals.count_run(&trigger, RunState::parse(&run.text(1)?)?, -1);
        totals.count_run(&trigger, RunState::Dropped, 1);
        published_at = published_at.min(run.time(2)?);
    }
    if !runs.is_empty() {
        let update =
            format!("UPDATE job_runs SET state = 'dropped', ended_at = COALESCE(ended_at, ?) WHERE {these}");
        let values: Vec<_> = [Utc::now().into()].into_iter().chain(key).collect();
        database.execute(&update, &values).await?;
        let word = Word { name: String::new(), published_at };
        let words = BTreeMap::from([(customer.to_owned(), word)]);
        // Whoever was onboarded stays it, whatever the last step is called.
        customer::refresh(database, &words, &BTreeSet::new(), &mut totals).await?;
    }
    totals.add(database).await?;
    database.commit().await
}
