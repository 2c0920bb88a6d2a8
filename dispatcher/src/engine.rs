//! The loop: delivery → event → plan → admission → run → answer. The same for every bus and every backend.
//!
//! Decisions are in [`admission`] and [`verdict`], which are pure; all other code here only acts. One lane for each
//! subject fetches only what may run, so that the backlog waits in the bus and not in memory.

pub mod admission;
mod delivery;
mod finished_triggers;
mod in_hand;
mod job;
mod lane;
mod outline;
pub mod parked;
#[cfg(test)]
mod tests;
pub mod verdict;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::admission::Admission;
use self::finished_triggers::FinishedTriggers;
use self::in_hand::InHand;
use self::parked::Parked;
use crate::manifest_source::Rules;
use crate::metrics::Metrics;
use crate::observer::Observer;
use crate::plan::{Cluster, Policy};
use ::job::stop::Stop;
use backend::Backend;
use bus::Bus;

/// How often new subjects are looked for.
const SUBJECTS_EVERY: Duration = Duration::from_secs(2);

/// The settings of the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most Jobs that run at the same time.
    pub max_running: usize,
    /// The most attempts of one event.
    pub max_attempts: u64,
    /// How long an event waits for a trigger that takes it.
    pub unmatched_after: Duration,
    /// The cluster that selectors are matched against.
    pub cluster: Cluster,
    /// What a rendered Job may contain.
    pub policy: Policy,
}

/// Takes events and runs their Jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bus: Bus,
    backend: Backend,
    rules: Rules,
    metrics: Metrics,
    observer: Observer,
    admission: Admission,
    finished: FinishedTriggers,
    parked: Parked,
    in_hand: InHand,
    planning: Semaphore,
    settings: Settings,
}

impl Inner {
    /// Whether no further attempt follows this one.
    const fn is_last(&self, attempt: u64) -> bool {
        attempt >= self.settings.max_attempts
    }
}

impl Engine {
    /// An engine that has not started.
    pub fn new(
        bus: Bus,
        backend: Backend,
        rules: Rules,
        metrics: Metrics,
        observer: Observer,
        settings: Settings,
    ) -> Self {
        let admission = Admission::new(settings.max_running);
        let finished = FinishedTriggers::default();
        let parked = Parked::new(settings.unmatched_after);
        let in_hand = InHand::default();
        let planning = Semaphore::new(delivery::PLANNED_AT_ONCE);
        Self(Arc::new(Inner {
            bus,
            backend,
            rules,
            metrics,
            observer,
            admission,
            finished,
            parked,
            in_hand,
            planning,
            settings,
        }))
    }

    /// The events that wait for a trigger.
    pub fn parked(&self) -> Parked {
        self.0.parked.clone()
    }

    /// Runs until it is told to stop, and returns once every taken delivery is answered.
    pub async fn run(&self, stop: &Stop) {
        let mut lanes = JoinSet::new();
        let mut known = BTreeSet::new();
        let mut said: Option<String> = None;
        loop {
            self.0.admission.share(self.0.rules.current().triggers.len() > 1);
            let idle = self.0.rules.idle(&self.0.settings.cluster);
            if let Some(why) = idle.as_ref().filter(|why| said.as_ref() != Some(*why)) {
                tracing::error!(why, "no event can start a Job");
            }
            said = idle;
            for subject in self.subjects().await {
                if known.insert(subject.clone()) {
                    let (inner, stop) = (Arc::clone(&self.0), stop.clone());
                    lanes.spawn(async move { lane::run(&inner, &subject, &stop).await });
                }
            }
            tokio::select! {
                () = tokio::time::sleep(SUBJECTS_EVERY) => {}
                () = self.0.rules.changed() => {}
                () = stop.draining() => break,
            }
        }
        while lanes.join_next().await.is_some() {}
    }

    /// The number of running Jobs.
    pub fn running(&self) -> usize {
        self.0.admission.running()
    }

    async fn subjects(&self) -> Vec<String> {
        let wanted = self.0.rules.subjects();
        if let Err(error) = self.0.bus.ensure_subjects(&wanted).await {
            tracing::warn!(error = %error, "the bus does not keep every subject of the manifests");
        }
        let mut kept = self.0.bus.subjects().await.unwrap_or_default();
        // A subject that no manifest names belongs to somebody else, so do not take its events.
        kept.retain(|subject| self.0.rules.watches(subject));
        kept
    }
}
