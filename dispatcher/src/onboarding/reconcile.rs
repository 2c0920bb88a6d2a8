//! Adds to the history what it has missed, because a dispatcher was killed while its database was late, or because
//! runs did not fit. The ledger shows which events workers have handled. So a run that no dispatcher follows any more
//! is marked as complete, and a missing run is added.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use shared::error::Result;

use crate::flow::Flow;
use history::{History, Run, RunState, Text, explain, key_of, list, row, rows};
use job::stop::Stop;
use job::{digest, short};

/// A run that is not in the history this long after its entry in the ledger was missed.
const MISSED: TimeDelta = TimeDelta::seconds(30);

/// A run without any report for this long is not followed by a dispatcher any more.
const SILENT: TimeDelta = TimeDelta::seconds(90);

/// The condition of such a run; the time follows.
const SILENT_RUN: &str = "superseded = 0 AND state IN ('running', 'try_again', 'handed_back') AND seen_at < ";

/// How many entries of the ledger are compared at once.
const AT_ONCE: i64 = 500;

/// How often new entries are compared, and after how many rounds those of the last hour again, because a report may
/// come late.
const EVERY: Duration = Duration::from_secs(15);
const ROUNDS: u32 = 40;

/// The pause after many entries; there is no hurry.
const PAUSE: Duration = Duration::from_millis(250);

/// Compares the history with the ledger.
pub struct Reconcile {
    /// The history.
    pub history: History,
    /// The flow of the manifests in force, which names the trigger of a step.
    pub flow: Box<dyn Fn() -> Flow + Send + Sync>,
}

#[derive(Debug)]
struct Entry {
    step: String,
    event_id: String,
    subject: String,
    customer_id: String,
    handled_at: DateTime<Utc>,
}

row!(Entry {
    step: Text = "step",
    event_id: Text = "event_id",
    subject: Text = "subject",
    customer_id: Text = "customer_id",
    handled_at: DateTime<Utc> = "handled_at",
});

impl Reconcile {
    /// Runs until it is told to stop. New entries come first, and old ones in between.
    pub async fn run(self, stop: &Stop) {
        if self.history.is_in_memory() {
            return;
        }
        let work = async {
            let start = Utc::now() - TimeDelta::hours(1);
            let (mut from, mut older) = (start, Some(start));
            for round in 1_u32.. {
                tokio::time::sleep(EVERY).await;
                // Reports that are still in this process's memory are not missing.
                if self.history.problem().is_some() {
                    continue;
                }
                if round % ROUNDS == 0 {
                    from = Utc::now() - TimeDelta::hours(1);
                }
                let done = async {
                    from = self.newer(from).await?;
                    self.unfollowed().await?;
                    if let Some(until) = older {
                        older = self.older(until).await?;
                    }
                    Ok::<_, shared::error::Error>(())
                };
                if let Err(error) = done.await {
                    tracing::debug!(error = %error, "the history was not compared with the ledger; it is next time");
                }
            }
        };
        tokio::select! { () = work => {}, () = stop.draining() => {} }
    }

    /// Compares entries from this time on. Returns where to continue.
    pub(super) async fn newer(&self, mut from: DateTime<Utc>) -> Result<DateTime<Utc>> {
        let until = Utc::now() - MISSED;
        loop {
            let entries = self.entries(from, until, "handled_at").await?;
            self.compare(&entries).await?;
            let last = entries.last().map_or(from, |entry| entry.handled_at);
            let all = i64::try_from(entries.len()).is_ok_and(|count| count < AT_ONCE);
            if all || last == from {
                return Ok(last);
            }
            from = last;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Compares some entries before this time. Returns where to continue.
    async fn older(&self, mut until: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
        let began = std::time::Instant::now();
        let from = Utc::now() - self.history.keep().age;
        while began.elapsed() < EVERY {
            let entries = self.entries(from, until, "handled_at DESC").await?;
            self.compare(&entries).await?;
            let first = entries.last().map_or(until, |entry| entry.handled_at);
            if first == until || i64::try_from(entries.len()).is_ok_and(|count| count < AT_ONCE) {
                return Ok(None);
            }
            until = first;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(Some(until))
    }

    /// Compares the entries of runs that no dispatcher follows, however old the entries are: a run of a killed
    /// dispatcher becomes silent after its entry was compared.
    pub(super) async fn unfollowed(&self) -> Result<()> {
        let silent: Vec<(Text, Text)> = rows!(self.history.pool(), query => {
            query.push("SELECT event_id, flow_key FROM job_runs WHERE ").push(SILENT_RUN);
            query.push_bind(silent_since()).push(" ORDER BY seen_at DESC LIMIT ").push_bind(AT_ONCE);
        })
        .map_err(explain)?;
        if silent.is_empty() {
            return Ok(());
        }
        let entries: Vec<Entry> = rows!(self.history.pool(), query => {
            query.push("SELECT step, event_id, subject, customer_id, handled_at FROM handled_events WHERE customer_id IN ");
            list!(query, silent.iter().map(|(_, customer)| customer.0.as_str()));
            query.push(" AND event_id IN ");
            list!(query, silent.iter().map(|(event, _)| event.0.as_str()));
        })
        .map_err(explain)?;
        self.compare(&entries).await
    }

    async fn entries(&self, from: DateTime<Utc>, until: DateTime<Utc>, order: &str) -> Result<Vec<Entry>> {
        rows!(self.history.pool(), query => {
            query.push("SELECT step, event_id, subject, customer_id, handled_at FROM handled_events WHERE handled_at >= ");
            query.push_bind(from.naive_utc()).push(" AND handled_at <= ").push_bind(until.naive_utc());
            query.push(" ORDER BY ").push(order).push(" LIMIT ").push_bind(AT_ONCE);
        })
        .map_err(explain)
    }

    async fn compare(&self, entries: &[Entry]) -> Result<()> {
        let mut by_event: BTreeMap<(&str, &str), Vec<&Entry>> = BTreeMap::new();
        for entry in entries {
            by_event.entry((&entry.customer_id, &entry.event_id)).or_default().push(entry);
        }
        if by_event.is_empty() {
            return Ok(());
        }
        let runs: Vec<Run> = rows!(self.history.pool(), query => {
            query.push("SELECT * FROM job_runs WHERE flow_key IN ");
            list!(query, by_event.keys().map(|(customer, _)| key_of(customer)));
            query.push(" AND event_id IN ");
            list!(query, by_event.keys().map(|(_, event)| *event));
        })
        .map_err(explain)?;
        let silent: Vec<(Text,)> = rows!(self.history.pool(), query => {
            query.push("SELECT id FROM job_runs WHERE ").push(SILENT_RUN).push_bind(silent_since());
            query.push(" AND event_id IN ");
            list!(query, by_event.keys().map(|(_, event)| *event));
        })
        .map_err(explain)?;
        let (mut words, mut doubled) = (Vec::new(), Vec::new());
        for ((customer, event), entries) in by_event {
            let mut steps: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
            for entry in entries {
                steps.entry(&entry.step).or_default().push(entry);
            }
            for (step, entries) in steps {
                let of = |run: &&Run| {
                    run.flow_key == customer && run.event_id == event && short(&run.image) == step
                };
                let (added, seen): (Vec<&Run>, Vec<&Run>) =
                    runs.iter().filter(of).partition(|run| run.job.is_empty());
                if !seen.is_empty() {
                    doubled.extend(added.iter().map(|run| run.id.clone()));
                } else if added.is_empty() {
                    words.extend(entries.iter().map(|entry| self.missed(entry)));
                }
                // One id for many events, some of which are not handled: it is not known which.
                if entries.len() < seen.len() {
                    continue;
                }
                let ended_at = entries.iter().map(|entry| entry.handled_at).max();
                let unfollowed = seen.into_iter().filter(|run| silent.iter().any(|id| id.0.0 == run.id));
                words.extend(unfollowed.map(|run| Run {
                    state: RunState::Complete,
                    ended_at,
                    exit_code: None,
                    ..run.clone()
                }));
            }
        }
        self.history.write_now(&words).await?;
        self.history.remove(&doubled).await
    }

    /// A run that only the ledger shows. It has no Job name, so that it is not taken for a run that a dispatcher has
    /// seen.
    fn missed(&self, entry: &Entry) -> Run {
        let flow = (self.flow)();
        let step = flow.steps.iter().find(|step| step.images.contains(&entry.step));
        let parts = ["ledger", &entry.step, &entry.event_id, &entry.subject];
        Run {
            id: digest(parts.map(str::as_bytes)),
            trigger: step.map_or_else(|| entry.step.clone(), |step| step.trigger.clone()),
            namespace: String::new(),
            job: String::new(),
            image: entry.step.clone(),
            event_hash: String::new(),
            event_id: entry.event_id.clone(),
            nats_subject: step.and_then(|step| step.subjects.first().cloned()).unwrap_or_default(),
            flow_key: key_of(&entry.customer_id),
            flow_name: String::new(),
            replay: 0,
            deliveries: 0,
            state: RunState::Complete,
            superseded: false,
            published_at: entry.handled_at,
            handed_at: entry.handled_at,
            started_at: None,
            ended_at: Some(entry.handled_at),
            tries: 0,
            adopted: false,
            exit_code: None,
            class: None,
            message: Some("the ledger says that it was done; no dispatcher has written how".to_owned()),
            report: None,
        }
    }
}

fn silent_since() -> NaiveDateTime {
    (Utc::now() - SILENT).naive_utc()
}
