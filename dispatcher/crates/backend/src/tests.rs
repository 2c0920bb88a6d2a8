//! What the tests of several backends need: a Job of a known identity, and a look at how it ended.

use std::path::Path;

use super::{Failure, Outcome};
use rules::manifest::Position;
use rules::plan::{Identity, JobSpec, JobText, PlannedJob};

/// The Job `default/user-saved-1` of the event `e1`, with this spec.
pub(super) fn job(spec: JobSpec) -> PlannedJob {
    PlannedJob {
        namespace: "default".to_owned(),
        name: "user-saved-1".to_owned(),
        manifest: JobText::default(),
        spec,
        identity: identity("e1"),
        template: Position::of_folder(Path::new("events")),
    }
}

pub(super) fn identity(event_id: &str) -> Identity {
    Identity {
        trigger: "user-saved-trigger".to_owned(),
        source: "knapscen.disco".to_owned(),
        subject: "1".to_owned(),
        event_id: event_id.to_owned(),
        replay: 0,
    }
}

/// The message of a failure.
pub(super) fn message(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed(Failure { message, .. }) | Outcome::TryAgain(Failure { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

/// Places are not limited.
pub(super) fn anywhere() -> &'static mut () {
    Box::leak(Box::new(()))
}
