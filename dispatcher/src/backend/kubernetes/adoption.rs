//! What a Job that is there already means for the one at hand: pure.

use std::time::{Duration, SystemTime};

use super::super::{Again, Cause, Outcome, Ran, Report};
use super::seen::Seen;
use crate::plan::{EVENT_LABEL, IDENTITY_LABEL, Identity, PlannedJob};

/// Long enough to list a Job's Pods.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// No dispatcher made it: nothing of it may be touched.
    NotOurs,
    /// It is this event's and runs: await its end.
    Adopt,
    /// It is this event's and has ended: that counts, unless it asks for another run.
    Report,
    /// It is on its way out: wait until the name is free.
    AwaitRemoval,
    /// It is this event's, and a `Delete` event has taken it back: its end is not worth waiting for.
    GiveUp,
    /// Another event's, running: wait for its end, then look again.
    AwaitEnd,
    /// Another event's, ended: make room.
    Replace,
    /// Done once for this identity, and once is what was asked for.
    Skip,
}

/// From what is there to what to do.
pub(super) fn decide(found: &Seen, identity: &Identity, again: Again) -> Step {
    let Some(event) = found.label(EVENT_LABEL) else { return Step::NotOurs };
    let same_identity = found.label(IDENTITY_LABEL) == Some(&identity.hash());
    let same_event = same_identity && event == identity.event_hash();
    if same_event && !found.has_ended() && found.is_taken_back() {
        return Step::GiveUp;
    }
    if found.is_being_removed() {
        return Step::AwaitRemoval;
    }
    match (same_event, found.has_ended()) {
        (true, false) => Step::Adopt,
        (true, true) => Step::Report,
        (false, false) => Step::AwaitEnd,
        (false, true) if same_identity && again == Again::Never && found.is_complete() => Step::Skip,
        (false, true) => Step::Replace,
    }
}

/// How long an ended Job of another event still stays: who follows it, here or elsewhere, reads what its Pods said.
pub(super) fn last_words(found: &Seen, now: SystemTime) -> Duration {
    let until = found.ended_at().map(|ended| ended + LAST_WORDS);
    until.and_then(|until| until.duration_since(now).ok()).unwrap_or_default().min(LAST_WORDS)
}

/// Somebody else's Job has the name.
pub(super) fn not_ours(job: &PlannedJob) -> Ran {
    let (namespace, name) = (&job.namespace, &job.name);
    Ran::refused(
        Cause::BackendError,
        format!(
            "a Job {namespace}/{name} is there that no dispatcher made (it has no label {EVENT_LABEL}): \
             remove it, or give the Job of this event another name"
        ),
    )
}

/// A `Delete` event has come while the Job ran.
pub(super) fn taken_back() -> Ran {
    Ran::refused(Cause::BackendError, "a Delete event of the same subject took its Job back while it ran")
}

/// Once is enough, and that was.
pub(super) fn skipped(found: &Seen) -> Ran {
    Ran {
        outcome: Outcome::Complete { report: Report::default() },
        attempts: found.attempts(),
        adopted: true,
        started_at: found.started_at(),
        earlier: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::DELETED_LABEL;
    use serde_json::json;

    #[test]
    fn a_job_that_was_taken_back_while_it_ran_is_given_up_by_its_own_event_alone() {
        let identity = |id: &str| Identity {
            trigger: "t".into(),
            source: "s".into(),
            subject: "x".into(),
            event_id: id.into(),
            replay: 0,
        };
        let (own, other) = (identity("e-1"), identity("e-2"));
        let found = |deletion: Option<&str>, status: &str| -> Seen {
            serde_json::from_value(json!({
                "metadata": {"deletionTimestamp": deletion, "labels": {EVENT_LABEL: own.event_hash(),
                    IDENTITY_LABEL: own.hash(), DELETED_LABEL: "true"}},
                "status": {"conditions": [{"type": "Complete", "status": status}]},
            }))
            .unwrap()
        };
        let removed = Some("2026-01-01T00:00:00Z");
        for (deletion, complete, event, step) in [
            (None, "False", &own, Step::GiveUp),
            (removed, "False", &own, Step::GiveUp),
            (None, "True", &own, Step::Report),
            (None, "False", &other, Step::AwaitEnd),
            (removed, "False", &other, Step::AwaitRemoval),
        ] {
            assert_eq!(
                decide(&found(deletion, complete), event, Again::Replace),
                step,
                "{deletion:?} {complete}"
            );
        }
    }

    #[test]
    fn an_ended_job_stays_for_a_moment_and_never_longer() {
        let ended = |at: &str| -> Seen {
            serde_json::from_value(json!({"metadata": {}, "status": {"conditions": [
                {"type": "Failed", "status": "True", "lastTransitionTime": at}]}}))
            .unwrap()
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        for (at, left) in
            [("1970-01-01T00:00:09Z", 1), ("1970-01-01T00:00:10Z", 2), ("1970-01-01T00:00:01Z", 0)]
        {
            assert_eq!(last_words(&ended(at), now), Duration::from_secs(left), "{at}");
        }
        // A clock that is ahead holds nobody up.
        assert_eq!(last_words(&ended("1971-01-01T00:00:00Z"), now), LAST_WORDS);
        assert_eq!(last_words(&Seen::default(), now), Duration::ZERO);
    }
}
