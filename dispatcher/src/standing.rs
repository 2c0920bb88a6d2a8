//! Where the flow stands, step by step: what page, `status` and metrics show, counted once for all three.
//!
//! Reads what every dispatcher shares: the bus for what waits and what was given up, the history for everything else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::bus::Backlog;
use crate::flow::{Flow, Step};
use crate::history::{RunState, Totals};

/// A step and its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepCounts {
    /// The EventTrigger's name.
    pub trigger: String,
    /// The step's name for people.
    pub name: String,
    /// The NATS subjects that start it, as one text.
    pub subject: String,
    /// Events that nobody has taken.
    pub waiting: u64,
    /// When the oldest of these was published.
    pub oldest: Option<DateTime<Utc>>,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that failed, or were handed back, and whose event comes again.
    pub retrying: u64,
    /// Jobs that completed.
    pub done: u64,
    /// Jobs that failed for good, or could not be planned.
    pub failed: u64,
    /// Events that wait for somebody to replay or drop them.
    pub dead_letters: u64,
}

impl StepCounts {
    /// The names of [`Self::counts`], for labels and columns.
    pub const NAMES: [&str; 5] = ["waiting", "running", "done", "failed", "dead letters"];

    fn new(step: &Step, backlog: &[Backlog], totals: &Totals, dead: &BTreeMap<String, u64>) -> Self {
        let here = backlog.iter().filter(|one| step.subjects.contains(&one.subject));
        let runs = |state| totals.runs(&step.trigger, state);
        Self {
            trigger: step.trigger.clone(),
            name: step.name().to_owned(),
            subject: step.subjects.join(", "),
            waiting: here.clone().map(|one| one.waiting).sum(),
            oldest: here.filter_map(|one| one.oldest).min(),
            running: runs(RunState::Running),
            retrying: runs(RunState::TryAgain) + runs(RunState::HandedBack),
            done: runs(RunState::Complete),
            failed: runs(RunState::Failed),
            dead_letters: step.subjects.iter().filter_map(|subject| dead.get(subject)).sum(),
        }
    }

    /// In the order of a step's life. What is tried again is still running.
    pub const fn counts(&self) -> [u64; 5] {
        [self.waiting, self.running + self.retrying, self.done, self.failed, self.dead_letters]
    }
}

/// All steps of the flow, in the order of the manifests.
pub fn steps(
    flow: &Flow,
    backlog: &[Backlog],
    totals: &Totals,
    dead: &BTreeMap<String, u64>,
) -> Vec<StepCounts> {
    flow.steps.iter().map(|step| StepCounts::new(step, backlog, totals, dead)).collect()
}
