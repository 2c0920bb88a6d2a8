//! State that many pages show, read at most once a second, however many visitors there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use super::step::StepView;
use super::{App, FETCHED_WITHIN, Inner};
use crate::flow::Flow;
use crate::onboarding::Stages;
use crate::onboarding::step;
use crate::step_counts;
use history::Totals;

/// How long a snapshot is used.
const FRESH: Duration = Duration::from_secs(1);
/// How long each server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Completed Jobs within this time are counted as the rate.
const RATE_OVER: Duration = Duration::from_mins(1);

/// The state of all parts at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) flow: Flow,
    pub(super) steps: Vec<StepView>,
    pub(super) stages: Stages,
    pub(super) oldest: Option<(String, DateTime<Utc>)>,
    /// By subject; `None` if the bus does not answer.
    pub(super) dead_letters: Option<BTreeMap<String, u64>>,
    /// Bus, backend, database, manifests.
    pub(super) health: Vec<Health>,
}

/// The health of one part, as text.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) what: &'static str,
    pub(super) well: bool,
    pub(super) words: String,
}

/// The last snapshot, and when it was taken.
pub(super) type Cached = Mutex<Option<(Instant, Arc<Snapshot>)>>;

impl Snapshot {
    /// The number of dead letters.
    pub(super) fn dead(&self) -> Option<u64> {
        self.dead_letters.as_ref().map(|counts| counts.values().sum())
    }
}

impl App {
    pub(super) async fn snapshot(&self) -> Arc<Snapshot> {
        let mut cached = self.0.snapshot.lock().await;
        if let Some((taken, snapshot)) = &*cached
            && taken.elapsed() < FRESH
        {
            return Arc::clone(snapshot);
        }
        let snapshot = Arc::new(take(&self.0).await);
        *cached = Some((Instant::now(), Arc::clone(&snapshot)));
        snapshot
    }

    /// Makes the next page read the state again, because something has changed.
    pub(super) async fn forget_snapshot(&self) {
        *self.0.snapshot.lock().await = None;
    }
}

async fn take(app: &Inner) -> Snapshot {
    let flow = step::flow(&app.rules.current(), &app.cluster);
    let (bus, backlog, dead, backend, numbers) = tokio::join!(
        tokio::time::timeout(PATIENCE, app.bus.check(FETCHED_WITHIN)),
        tokio::time::timeout(PATIENCE, app.bus.backlog()),
        tokio::time::timeout(PATIENCE, app.bus.dead_letter_counts()),
        tokio::time::timeout(PATIENCE, app.backend.check()),
        tokio::time::timeout(PATIENCE, async {
            tokio::try_join!(
                app.history.totals(),
                app.history.completed_within(RATE_OVER),
                app.customers.stages()
            )
        }),
    );
    let backlog = backlog.ok().and_then(Result::ok).unwrap_or_default();
    let mut health = vec![
        match bus.map(|health| health.problem) {
            Ok(None) => well("Bus", "answers, and events are fetched".to_owned()),
            Ok(Some(problem)) => ill("Bus", problem),
            Err(_) => ill("Bus", "does not answer".to_owned()),
        },
        match backend {
            Ok(Ok(())) => well("Jobs", format!("the {} backend can start them", app.backend.name())),
            Ok(Err(error)) => {
                ill("Jobs", format!("the {} backend cannot start them: {error}", app.backend.name()))
            }
            Err(_) => ill("Jobs", format!("the {} backend does not answer", app.backend.name())),
        },
    ];
    let (totals, rates, stages): (Totals, _, _) = match numbers {
        Ok(Ok(numbers)) => {
            health.push(history(app));
            numbers
        }
        Ok(Err(error)) => {
            health.push(ill("History", format!("cannot be read, so counts are missing: {error}")));
            Default::default()
        }
        Err(_) => {
            health.push(ill("History", "the database does not answer, so counts are missing".to_owned()));
            Default::default()
        }
    };
    let rules = app.rules.state();
    let dead = dead.ok().and_then(Result::ok);
    let known = dead.clone().unwrap_or_default();
    let counted = step_counts::steps(&flow, &backlog, &totals, &known).into_iter();
    health.push(match rules.refused {
        None => well("Manifests", format!("{} triggers in force", app.rules.current().triggers.len())),
        Some(why) => ill("Manifests", format!("the newest are refused, in part or whole: {why}")),
    });
    health.extend(app.idle().map(|why| ill("Triggers", why)));
    health.extend(app.parked.words().into_iter().map(|words| ill("Unmatched", words)));
    let oldest = backlog.iter().filter_map(|one| Some((one.subject.clone(), one.oldest?)));
    Snapshot {
        steps: counted.map(|one| StepView::new(one, &rates)).collect(),
        flow,
        stages,
        oldest: oldest.min_by_key(|(_, at)| *at),
        dead_letters: dead,
        health,
    }
}

fn history(app: &Inner) -> Health {
    let missing = match app.history.dropped() {
        0 => String::new(),
        some => format!("; {some} runs are missing: the log says why"),
    };
    let ahead = match app.history.ahead() {
        0 => String::new(),
        some => format!("; {some} events were acknowledged before their runs were stored"),
    };
    match app.history.problem() {
        Some(problem) => ill("History", format!("is late, and Jobs run on: {problem}{ahead}{missing}")),
        None if app.history.is_in_memory() => well(
            "History",
            format!("in memory, and gone with this process: no database is configured{missing}"),
        ),
        None => Health {
            what: "History",
            well: missing.is_empty(),
            words: format!("in the database{ahead}{missing}"),
        },
    }
}

const fn well(what: &'static str, words: String) -> Health {
    Health { what, well: true, words }
}

const fn ill(what: &'static str, words: String) -> Health {
    Health { what, well: false, words }
}
