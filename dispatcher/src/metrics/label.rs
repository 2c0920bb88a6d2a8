//! The labels: who counts under which name, and how many names there may be.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::backend::{Outcome, Ran};

/// Triggers and subjects with a series of their own. Manifests have some dozens; a stream with wildcard subjects could
/// bring any number.
pub(super) const MOST_NAMES: usize = 500;

/// What all further ones share.
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

/// A step, and where in its life.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Standing {
    pub(super) trigger: String,
    pub(super) state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Customers {
    pub(super) stage: String,
}

/// The names that have been counted under.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeSet<String>>);

impl Known {
    /// The name itself, or [`OTHER`] where there are too many.
    pub(super) fn bounded(&self, name: &str) -> String {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.contains(name) {
            if names.len() >= MOST_NAMES {
                return OTHER.to_owned();
            }
            names.insert(name.to_owned());
        }
        name.to_owned()
    }
}

/// How a trigger's Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobOutcome {
    /// Done.
    Complete,
    /// Failed for good.
    Failed,
    /// Failed, to be tried again.
    TryAgain,
    /// Handed back by a stopping dispatcher.
    Stopped,
    /// Could not be planned.
    Refused,
    /// Nothing to do: no action, or a dry run.
    Skipped,
    /// A `Delete` event: what was made is gone.
    Deleted,
}

impl JobOutcome {
    /// Every way.
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

    /// Of a Job that was taken to its end.
    pub const fn of(ran: &Ran) -> Self {
        Self::of_outcome(&ran.outcome)
    }

    /// Of how a Job ended.
    pub const fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Complete { .. } => Self::Complete,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::TryAgain { .. } => Self::TryAgain,
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

/// Why spans never reached the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpansLost {
    /// It was away for longer than the queue lasts.
    Full,
    /// It did not want them.
    Refused,
    /// The dispatcher stopped before it took them.
    Stopped,
}

impl SpansLost {
    /// Every reason.
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
