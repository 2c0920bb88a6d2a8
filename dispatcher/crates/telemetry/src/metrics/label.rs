//! The labels of the metrics, and the limit of their number.

use std::collections::BTreeSet;
use std::fmt;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use job::{Outcome, Ran};

/// The most triggers and subjects with a series of their own. Manifests have some dozens, but a stream with wildcard
/// subjects could bring any number.
pub(super) const MOST_NAMES: usize = 500;

/// The name that all further ones share.
pub(super) const OTHER: &str = "other";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) version: &'static str,
    pub(super) bus: &'static str,
    pub(super) backend: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Subject {
    pub(super) subject: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Trigger {
    pub(super) trigger: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ended {
    pub(super) trigger: String,
    pub(super) outcome: JobOutcome,
}

/// A step and its state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StepState {
    pub(super) trigger: String,
    pub(super) state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Flows {
    pub(super) stage: String,
}

/// The names that have a series.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeSet<String>>);

impl Known {
    /// The name itself, or [`OTHER`] if there are too many.
    pub(super) fn bounded(&self, name: &str) -> String {
        let mut names = self.0.lock();
        if !names.contains(name) {
            if names.len() >= MOST_NAMES {
                return OTHER.to_owned();
            }
            names.insert(name.to_owned());
        }
        name.to_owned()
    }
}

/// How a Job of a trigger ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobOutcome {
    /// It succeeded.
    Complete,
    /// It failed for good.
    Failed,
    /// It failed, and the event comes again.
    TryAgain,
    /// A stopping dispatcher handed its event back.
    Stopped,
    /// It could not be planned.
    Refused,
    /// There was nothing to do: no action, or a dry run.
    Skipped,
    /// A `Delete` event has removed the trigger's Jobs.
    Deleted,
}

impl JobOutcome {
    /// All ways.
    pub const ALL: [Self; 7] = [
        Self::Complete,
        Self::Failed,
        Self::TryAgain,
        Self::Stopped,
        Self::Refused,
        Self::Skipped,
        Self::Deleted,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::TryAgain => "try_again",
            Self::Stopped => "stopped",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
            Self::Deleted => "deleted",
        }
    }

    /// The label of a Job that has ended.
    pub const fn of(ran: &Ran) -> Self {
        Self::of_outcome(&ran.outcome)
    }

    /// The label of an outcome.
    pub const fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Complete { .. } => Self::Complete,
            Outcome::Failed(_) => Self::Failed,
            Outcome::TryAgain(_) => Self::TryAgain,
            Outcome::Stopped => Self::Stopped,
        }
    }
}

impl EncodeLabelValue for JobOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Lost {
    pub(super) reason: SpansLost,
}

/// Why spans did not reach the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpansLost {
    /// The collector was away until the queue was full.
    Full,
    /// The collector refused them.
    Refused,
    /// The dispatcher stopped before the collector accepted them.
    Stopped,
}

impl SpansLost {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Full, Self::Refused, Self::Stopped];
}

impl EncodeLabelValue for SpansLost {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let word = match self {
            Self::Full => "full",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        };
        word.encode(encoder)
    }
}
