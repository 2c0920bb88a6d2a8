//! What a record on disk means for the Job at hand: pure.

use super::super::Again;
use super::Outcome;
use super::record::Record;
use crate::plan::Identity;

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing there, or an ended Job of another event: start.
    Start,
    /// The same event ended already: its outcome counts.
    Report(Box<Record>, Outcome),
    /// The same event was running when it was last seen: await it.
    Follow(Record),
    /// Another event's Job was running when it was last seen: await it, then start.
    WaitFor(Record),
}

/// From what was found to what to do.
pub(super) fn decide(found: Option<Record>, identity: &Identity, again: Again) -> Step {
    let Some(record) = found else { return Step::Start };
    let same_event = record.event == identity.event_hash();
    match record.outcome().cloned() {
        None if same_event => Step::Follow(record),
        None => Step::WaitFor(record),
        // These ask for another run; that is what the redelivery is.
        Some(Outcome::TryAgain { .. } | Outcome::Stopped) => Step::Start,
        Some(outcome) if same_event => Step::Report(Box::new(record), outcome),
        Some(outcome @ Outcome::Complete { .. }) if again == Again::Never => {
            Step::Report(Box::new(record), outcome)
        }
        Some(_) => Step::Start,
    }
}
