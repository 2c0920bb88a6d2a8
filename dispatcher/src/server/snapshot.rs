//! What many pages show, asked for at most once a second however many look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use super::page::StepView;
use super::{App, FETCHED_WITHIN, Inner};
use crate::flow::Flow;
use crate::history::Totals;
use crate::standing;

/// How long one is good enough.
const FRESH: Duration = Duration::from_secs(1);
/// How long each server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Completed Jobs within this time are the rate.
const RATE_OVER: Duration = Duration::from_mins(1);

/// The state of the whole at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) flow: Flow,
    pub(super) steps: Vec<StepView>,
    pub(super) totals: Totals,
    pub(super) oldest: Option<(String, DateTime<Utc>)>,
    /// By subject; `None` where the bus does not say.
    pub(super) dead_letters: Option<BTreeMap<String, u64>>,
    /// Bus, backend, database, manifests.
    pub(super) health: Vec<Health>,
}

/// How one part is, in plain words.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) what: &'static str,
    pub(super) well: bool,
    pub(super) words: String,
}

/// The last snapshot, and when it was taken.
pub(super) type Cached = Mutex<Option<(Instant, Arc<Snapshot>)>>;

impl Snapshot {
    /// All dead letters.
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

    /// Something was done that the next page must show.
    pub(super) async fn forget_snapshot(&self) {
        *self.0.snapshot.lock().await = None;
    }
}

async fn take(app: &Inner) -> Snapshot {
    let flow = Flow::of(&app.rules.current(), &app.cluster);
    let (bus, backlog, dead, backend, numbers) = tokio::join!(
        tokio::time::timeout(PATIENCE, app.bus.check(FETCHED_WITHIN)),
        tokio::time::timeout(PATIENCE, app.bus.backlog()),
        tokio::time::timeout(PATIENCE, app.bus.dead_letter_counts()),
        tokio::time::timeout(PATIENCE, app.backend.check()),
        tokio::time::timeout(PATIENCE, async {
            let totals = app.history.totals().await?;
            Ok::<_, shared::Error>((totals, app.history.completed_within(RATE_OVER).await?))
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
    let (totals, rates) = match numbers {
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
    let counted = standing::steps(&flow, &backlog, &totals, &known).into_iter();
    health.push(match rules.refused {
        None => well("Manifests", format!("{} triggers in force", app.rules.current().triggers.len())),
        Some(why) => ill("Manifests", format!("the newest are refused, those before stay in force: {why}")),
    });
    let oldest = backlog.iter().filter_map(|one| Some((one.subject.clone(), one.oldest?)));
    Snapshot {
        steps: counted.map(|one| StepView::new(one, &rates)).collect(),
        flow,
        totals,
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
    match app.history.problem() {
        Some(problem) => {
            ill("History", format!("is not written at the moment, and Jobs run on: {problem}{missing}"))
        }
        None if app.history.is_in_memory() => well(
            "History",
            format!("in memory, and gone with this process: no database is configured{missing}"),
        ),
        None => {
            Health { what: "History", well: missing.is_empty(), words: format!("in the database{missing}") }
        }
    }
}

const fn well(what: &'static str, words: String) -> Health {
    Health { what, well: true, words }
}

const fn ill(what: &'static str, words: String) -> Health {
    Health { what, well: false, words }
}
