//! The loop: delivery → event → plan → admission → run → answer. The same for every bus and every backend.
//!
//! What is decided stands in [`admission`] and [`verdict`], pure; the rest here only acts. One lane per subject fetches
//! what may run and nothing more, so that the backlog waits in the bus and not in memory.

pub mod admission;
mod delivery;
mod job;
mod lane;
mod memory;
pub mod rules;
pub mod stop;
#[cfg(test)]
mod tests;
pub mod verdict;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use self::admission::Admission;
use self::memory::Memory;
use self::rules::Rules;
use self::stop::Stop;
use crate::backend::Backend;
use crate::bus::Bus;
use crate::metrics::Metrics;
use crate::observer::Observer;
use crate::plan::{Cluster, Policy};

/// How often new subjects are looked for.
const SUBJECTS_EVERY: Duration = Duration::from_secs(2);

/// What the engine is given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Jobs that run at once, at most.
    pub max_running: usize,
    /// Deliveries of one event, at most.
    pub max_attempts: u64,
    /// The cluster that selectors are matched against.
    pub cluster: Cluster,
    /// What a rendered Job may be.
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
    memory: Memory,
    settings: Settings,
}

impl Engine {
    /// An engine that has not begun.
    pub fn new(
        bus: Bus,
        backend: Backend,
        rules: Rules,
        metrics: Metrics,
        observer: Observer,
        settings: Settings,
    ) -> Self {
        let admission = Admission::new(settings.max_running);
        let memory = Memory::default();
        Self(Arc::new(Inner { bus, backend, rules, metrics, observer, admission, memory, settings }))
    }

    /// Runs until told to stop, and returns once everything taken is answered.
    pub async fn run(&self, stop: &Stop) {
        let mut lanes = JoinSet::new();
        let mut known = BTreeSet::new();
        loop {
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

    /// Jobs running now.
    pub fn running(&self) -> usize {
        self.0.admission.running()
    }

    async fn subjects(&self) -> Vec<String> {
        let wanted = self.0.rules.subjects();
        if let Err(error) = self.0.bus.ensure_subjects(&wanted).await {
            tracing::warn!(error = %error, "the bus does not keep every subject of the manifests");
        }
        self.0.bus.subjects().await.unwrap_or_default()
    }
}
