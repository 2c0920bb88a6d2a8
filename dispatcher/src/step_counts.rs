//! The progress of the flow, step by step. Page, `status` and metrics show the same counts.
//!
//! Reads what all dispatchers share: waiting events and dead letters from the bus, everything else from the history.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::flow::{Flow, Step};
use bus::Backlog;
use history::{RunState, Totals};

/// A step and its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepCounts {
    /// The EventTrigger's name.
    pub trigger: String,
    /// The name of the step for operators.
    pub name: String,
    /// The NATS subjects that start it, joined to one text.
    pub subject: String,
    /// Events that were not taken yet.
    pub waiting: u64,
    /// When the oldest of these was published.
    pub oldest: Option<DateTime<Utc>>,
    /// Running Jobs.
    pub running: u64,
    /// Jobs that failed or were handed back, and whose event comes again.
    pub retrying: u64,
    /// Completed Jobs.
    pub done: u64,
    /// Jobs that failed for good, or could not be planned.
    pub failed: u64,
    /// Dead letters.
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

    /// In the order in which an event passes them. What comes again counts as running.
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

/// The known counts. If the bus or the history did not answer, its counts are left out.
pub fn known(steps: &[StepCounts], bus: bool, history: bool) -> impl Iterator<Item = (&str, &str, u64)> {
    steps.iter().flat_map(move |step| {
        StepCounts::NAMES.into_iter().zip(step.counts()).filter_map(move |(state, amount)| {
            let answered = if matches!(state, "waiting" | "dead letters") { bus } else { history };
            answered.then_some((step.trigger.as_str(), state, amount))
        })
    })
}
