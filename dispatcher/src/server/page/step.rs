//! The flow with its numbers: what waits in the bus, what runs, what is done, what failed, and how fast it goes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::format::{cut, number, short_number};
use crate::bus::Backlog;
use crate::flow::{Flow, Step};
use crate::history::{RunState, Totals};

/// A step and its numbers.
#[derive(Clone, Debug)]
pub(in crate::server) struct StepView {
    pub(super) trigger: String,
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) waiting: u64,
    pub(super) oldest: Option<DateTime<Utc>>,
    pub(super) running: u64,
    pub(super) done: u64,
    pub(super) retrying: u64,
    pub(super) failed: u64,
    pub(super) per_minute: u64,
}

impl StepView {
    pub(in crate::server) fn new(
        step: &Step,
        backlog: &[Backlog],
        totals: &Totals,
        rates: &BTreeMap<String, u64>,
    ) -> Self {
        let here = backlog.iter().filter(|one| step.subjects.contains(&one.subject));
        let runs = |state| totals.runs(&step.trigger, state);
        Self {
            trigger: step.trigger.clone(),
            name: step.name().to_owned(),
            subject: step.subjects.join(", "),
            waiting: here.clone().map(|one| one.waiting).sum(),
            oldest: here.filter_map(|one| one.oldest).min(),
            running: runs(RunState::Running),
            done: runs(RunState::Complete),
            retrying: runs(RunState::TryAgain) + runs(RunState::HandedBack),
            failed: runs(RunState::Failed),
            per_minute: rates.get(&step.trigger).copied().unwrap_or(0),
        }
    }

    pub(super) fn tone(&self) -> &'static str {
        match () {
            () if self.failed > 0 => "bad",
            () if self.retrying > 0 => "warn",
            () if self.running > 0 || self.waiting > 0 => "busy",
            () => "idle",
        }
    }

    /// Name, number and tone of each count, in the order of a step's life.
    pub(super) fn counts(&self) -> [(&'static str, u64, &'static str); 4] {
        let tone = |count: u64, tone: &'static str| if count > 0 { tone } else { "zero" };
        [
            ("waiting", self.waiting, tone(self.waiting, "some")),
            ("running", self.running + self.retrying, tone(self.running + self.retrying, "busy")),
            ("done", self.done, tone(self.done, "good")),
            ("failed", self.failed, tone(self.failed, "bad")),
        ]
    }

    pub(super) fn short_name(&self) -> String {
        cut(&self.name, 28)
    }

    pub(super) fn short_subject(&self) -> String {
        cut(&self.subject, 26)
    }

    /// Completed Jobs per minute; nothing where there were none.
    pub(super) fn rate(&self) -> String {
        if self.per_minute == 0 { String::new() } else { format!("{}/min", short_number(self.per_minute)) }
    }

    pub(super) fn said(&self) -> String {
        let [waiting, running, done, failed] =
            self.counts().map(|(name, count, _)| format!("{} {name}", number(count)));
        format!(
            "{} on {}: {waiting}, {running}, {done}, {failed}, {} per minute",
            self.name, self.subject, self.per_minute
        )
    }
}

/// All steps of the flow.
pub(in crate::server) fn all(
    flow: &Flow,
    backlog: &[Backlog],
    totals: &Totals,
    rates: &BTreeMap<String, u64>,
) -> Vec<StepView> {
    flow.steps.iter().map(|step| StepView::new(step, backlog, totals, rates)).collect()
}
