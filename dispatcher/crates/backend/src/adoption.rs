//! Decides what an existing Job means for the one to run. Pure.

use super::{EndedJobPolicy, Outcome};
use rules::plan::Identity;

/// What a backend remembers of a Job.
pub(super) trait Known {
    /// The event that it was started for, see [`Identity::event_hash`].
    fn event(&self) -> &str;
    /// How it ended; `None` while it runs or waits between two tries.
    fn outcome(&self) -> Option<Outcome>;
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum ExistingJobAction<K> {
    /// Start: nothing is there, or an ended Job of another event.
    Start,
    /// The Job of the same event has already ended: its outcome counts.
    Report(K, Outcome),
    /// The Job of the same event was running when it was last seen: await it.
    Follow(K),
    /// Another event's Job was running when it was last seen: await it, then start.
    WaitFor(K),
}

/// From what was found to what to do.
pub(super) fn decide<K: Known>(
    found: Option<K>,
    identity: &Identity,
    if_ended: EndedJobPolicy,
) -> ExistingJobAction<K> {
    let Some(known) = found else { return ExistingJobAction::Start };
    let same_event = known.event() == identity.event_hash();
    match known.outcome() {
        None if same_event => ExistingJobAction::Follow(known),
        None => ExistingJobAction::WaitFor(known),
        // These ask for another run, and the redelivery is that run.
        Some(outcome) if outcome.asks_for_another() => ExistingJobAction::Start,
        Some(outcome) if same_event => ExistingJobAction::Report(known, outcome),
        Some(outcome @ Outcome::Complete { .. }) if if_ended == EndedJobPolicy::Keep => {
            ExistingJobAction::Report(known, outcome)
        }
        Some(_) => ExistingJobAction::Start,
    }
}
