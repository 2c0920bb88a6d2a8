//! A step on the page: its counts with their tones, and its rate.

use std::collections::BTreeMap;

use super::format::{cut, number, short_number};
use crate::step_counts::StepCounts;

/// A step, its counts and its rate.
#[derive(Clone, Debug)]
pub(super) struct StepView {
    pub(super) at: StepCounts,
    pub(super) per_minute: u64,
}

impl StepView {
    pub(super) fn new(at: StepCounts, rates: &BTreeMap<String, u64>) -> Self {
        let per_minute = rates.get(&at.trigger).copied().unwrap_or(0);
        Self { at, per_minute }
    }

    pub(super) fn tone(&self) -> &'static str {
        match &self.at {
            at if at.failed + at.dead_letters > 0 => "bad",
            at if at.retrying > 0 => "warn",
            at if at.running + at.waiting > 0 => "busy",
            _ => "idle",
        }
    }

    /// Name, number and tone of each count, in the order in which an event passes them.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> {
        let tones = ["some", "busy", "good", "bad", "bad"];
        let tone = |(count, tone)| if count > 0 { tone } else { "zero" };
        let counts = self.at.counts().into_iter().zip(tones);
        StepCounts::NAMES.into_iter().zip(counts).map(move |(name, one)| (name, one.0, tone(one)))
    }

    pub(super) fn short_name(&self) -> String {
        cut(&self.at.name, 28)
    }

    pub(super) fn short_subject(&self) -> String {
        cut(&self.at.subject, 26)
    }

    /// Completed Jobs per minute; empty if there were none.
    pub(super) fn rate(&self) -> String {
        if self.per_minute == 0 { String::new() } else { format!("{}/min", short_number(self.per_minute)) }
    }

    pub(super) fn said(&self) -> String {
        let counts: Vec<_> =
            self.counts().map(|(name, count, _)| format!("{} {name}", number(count))).collect();
        format!(
            "{} on {}: {}, {} per minute",
            self.at.name,
            self.at.subject,
            counts.join(", "),
            self.per_minute
        )
    }
}
