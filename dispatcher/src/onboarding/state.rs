//! The state of a customer, computed from its row and its runs.

use chrono::{DateTime, Utc};

use history::{RunState, Text, row};

/// What a customer needs: attention, patience, or nothing. In the order of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A Job failed for good.
    Stuck,
    /// A Job failed, and its event comes again.
    Retrying,
    /// Jobs run, or their events wait.
    UnderWay,
    /// The last worker has written that the flow is at its end.
    Onboarded,
    /// An operator dropped a failed event of it, and nothing else of it goes on.
    GivenUp,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 5] = [Self::Stuck, Self::Retrying, Self::UnderWay, Self::Onboarded, Self::GivenUp];

    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Stuck => 0,
            Self::Retrying => 1,
            Self::UnderWay => 2,
            Self::Onboarded => 3,
            Self::GivenUp => 4,
        }
    }

    /// If all Jobs of a flow have completed, it is still under way, because its end is recorded elsewhere.
    pub(super) fn of_code(code: i64) -> Self {
        Self::ALL.into_iter().find(|stage| stage.code() == code).unwrap_or(Self::UnderWay)
    }

    /// Whether nothing more is to come. Then the newest comes first in the list; otherwise the customer that waits
    /// longest.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Onboarded | Self::GivenUp)
    }

    /// The state of the runs that explain why a customer does not go on.
    pub(super) const fn telling(self) -> Option<RunState> {
        match self {
            Self::Stuck => Some(RunState::Failed),
            Self::Retrying => Some(RunState::TryAgain),
            Self::GivenUp => Some(RunState::Dropped),
            Self::UnderWay | Self::Onboarded => None,
        }
    }

    /// The name for pages and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Retrying => "trying again",
            Self::UnderWay => "under way",
            Self::Onboarded => "onboarded",
            Self::GivenUp => "given up",
        }
    }
}

/// The state of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerState {
    /// Its id, or the id that events give.
    pub id: String,
    /// Its name; empty if no event had one.
    pub name: String,
    /// The tier that it subscribed to; empty if that is not known.
    pub tier: String,
    /// Its stage.
    pub stage: Stage,
    /// The trigger that it is at; empty before the first.
    pub step: String,
    /// Why it does not go on.
    pub reason: Option<String>,
    /// When its flow began.
    pub started_at: DateTime<Utc>,
    /// When something last happened.
    pub changed_at: DateTime<Utc>,
    /// When it was onboarded.
    pub onboarded_at: Option<DateTime<Utc>>,
    /// Jobs that completed.
    pub done: i64,
    /// Jobs that run or whose event comes again.
    pub open: i64,
    /// Jobs that failed for good.
    pub failed: i64,
}

/// The runs of a flow with the same trigger and state.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) flow_key: String,
    pub(super) trigger: String,
    pub(super) state: RunState,
    pub(super) runs: i64,
    pub(super) latest: DateTime<Utc>,
}

row!(Part {
    flow_key: Text = "flow_key",
    trigger: Text = "trigger_name",
    state: Text = "state",
    runs: i64 = "runs",
    latest: DateTime<Utc> = "latest",
});

/// What is known about a customer besides its runs: from the workers' table, otherwise from its events.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) tier: String,
    pub(super) started_at: DateTime<Utc>,
    pub(super) onboarded_at: Option<DateTime<Utc>>,
}

row!(Known {
    id: Text = "id",
    name: Text = "name",
    tier: Text = "subscription_tier",
    started_at: DateTime<Utc> = "started_at",
    onboarded_at: Option<DateTime<Utc>> = "onboarded_at",
});

/// The runs of one flow, counted by their meaning.
#[derive(Default)]
struct Counts {
    done: i64,
    running: i64,
    retrying: i64,
    failed: i64,
    dropped: i64,
}

impl Counts {
    fn of(parts: &[Part]) -> Self {
        let mut counts = Self::default();
        for part in parts {
            let count = match part.state {
                RunState::Complete => &mut counts.done,
                RunState::Running | RunState::HandedBack => &mut counts.running,
                RunState::TryAgain => &mut counts.retrying,
                RunState::Failed => &mut counts.failed,
                RunState::Dropped => &mut counts.dropped,
            };
            *count += part.runs;
        }
        counts
    }

    const fn stage(&self, onboarded: bool) -> Stage {
        if onboarded {
            Stage::Onboarded
        } else if self.failed > 0 {
            Stage::Stuck
        } else if self.retrying > 0 {
            Stage::Retrying
        } else if self.running > 0 || self.dropped == 0 {
            Stage::UnderWay
        } else {
            Stage::GivenUp
        }
    }
}

impl CustomerState {
    pub(super) fn new(known: Known, parts: &[Part], reason: impl FnOnce(RunState) -> Option<String>) -> Self {
        let counts = Counts::of(parts);
        let stage = counts.stage(known.onboarded_at.is_some());
        let latest = |states: &[RunState]| {
            parts.iter().filter(|part| states.contains(&part.state)).max_by_key(|part| part.latest)
        };
        let telling = match stage {
            Stage::UnderWay => latest(&[RunState::Running, RunState::HandedBack]),
            stage => stage.telling().and_then(|state| latest(&[state])),
        };
        let telling = telling.or_else(|| latest(&RunState::ALL));
        let changed_at = known.onboarded_at.or_else(|| telling.map(|part| part.latest));
        Self {
            stage,
            step: telling.map(|part| part.trigger.clone()).unwrap_or_default(),
            reason: stage.telling().and_then(reason),
            changed_at: changed_at.unwrap_or(known.started_at),
            done: counts.done,
            open: counts.running + counts.retrying,
            failed: counts.failed,
            id: known.id,
            name: known.name,
            tier: known.tier,
            started_at: known.started_at,
            onboarded_at: known.onboarded_at,
        }
    }
}
