//! What is already there means for the Job at hand: pure.

use super::{Again, Outcome};
use crate::plan::Identity;

/// What a backend remembers of a Job.
pub(super) trait Known {
    /// The event that it was started for, as [`Identity::event_hash`].
    fn event(&self) -> &str;
    /// How it ended; `None` while it runs, or is between two tries.
    fn outcome(&self) -> Option<Outcome>;
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step<K> {
    /// Nothing there, or an ended Job of another event: start.
    Start,
    /// The same event ended already: its outcome counts.
    Report(K, Outcome),
    /// The same event was running when it was last seen: await it.
    Follow(K),
    /// Another event's Job was running when it was last seen: await it, then start.
    WaitFor(K),
}

/// From what was found to what to do.
pub(super) fn decide<K: Known>(found: Option<K>, identity: &Identity, again: Again) -> Step<K> {
    let Some(known) = found else { return Step::Start };
    let same_event = known.event() == identity.event_hash();
    match known.outcome() {
        None if same_event => Step::Follow(known),
        None => Step::WaitFor(known),
        // These ask for another run; that is what the redelivery is.
        Some(Outcome::TryAgain { .. } | Outcome::Stopped) => Step::Start,
        Some(outcome) if same_event => Step::Report(known, outcome),
        Some(outcome @ Outcome::Complete { .. }) if again == Again::Never => Step::Report(known, outcome),
        Some(_) => Step::Start,
    }
}
