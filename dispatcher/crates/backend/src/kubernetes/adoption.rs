//! Decides what an existing Job means for the one to run. Pure.

use std::time::{Duration, SystemTime};

use super::super::{EndedJobPolicy, FailureClass, Outcome, Ran, Report};
use super::api_error::ApiError;
use super::observed::Observed;
use rules::plan::{EVENT_LABEL, IDENTITY_LABEL, Identity, PlannedJob};

/// Long enough to list the Pods of a Job.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExistingJobAction {
    /// No dispatcher made it: do not touch it.
    NotOurs,
    /// It belongs to this event and runs: await its end.
    Adopt,
    /// It belongs to this event and has ended: its outcome counts, unless it asks for another run.
    Report,
    /// It is being removed: wait until the name is free.
    AwaitRemoval,
    /// It belongs to this event, and a `Delete` event has withdrawn it: do not wait for its end.
    GiveUp,
    /// It belongs to another event and runs: wait for its end, then look again.
    AwaitEnd,
    /// It belongs to another event and has ended: remove it.
    Replace,
    /// It ran once for this identity, and the trigger asks for one run only.
    Skip,
}

/// From what is there to what to do.
pub(super) fn decide(found: &Observed, identity: &Identity, if_ended: EndedJobPolicy) -> ExistingJobAction {
    let Some(event) = found.label(EVENT_LABEL) else { return ExistingJobAction::NotOurs };
    let same_identity = found.label(IDENTITY_LABEL) == Some(&identity.hash());
    let same_event = same_identity && event == identity.event_hash();
    if same_event && !found.has_ended() && found.is_taken_back() {
        return ExistingJobAction::GiveUp;
    }
    if found.is_being_removed() {
        return ExistingJobAction::AwaitRemoval;
    }
    match (same_event, found.has_ended()) {
        (true, false) => ExistingJobAction::Adopt,
        (true, true) => ExistingJobAction::Report,
        (false, false) => ExistingJobAction::AwaitEnd,
        (false, true) if same_identity && if_ended == EndedJobPolicy::Keep && found.is_complete() => {
            ExistingJobAction::Skip
        }
        (false, true) => ExistingJobAction::Replace,
    }
}

/// How much longer an ended Job of another event stays, so that its follower can read what its Pods reported.
pub(super) fn last_words(found: &Observed, now: SystemTime) -> Duration {
    let until = found.ended_at().map(|ended| ended + LAST_WORDS);
    until.and_then(|until| until.duration_since(now).ok()).unwrap_or_default().min(LAST_WORDS)
}

/// A Job of somebody else has the name.
pub(super) fn not_ours(job: &PlannedJob) -> Ran {
    let (namespace, name) = (&job.namespace, &job.name);
    Ran::refused(
        FailureClass::NameTaken,
        format!(
            "a Job {namespace}/{name} is there that no dispatcher made (it has no label {EVENT_LABEL}): \
             remove it, or give the Job of this event another name"
        ),
    )
}

/// Whether the API server has kept the labels by which the Job is found again. An admission policy may have removed
/// them.
pub(super) fn is_marked(created: &Observed, identity: &Identity) -> bool {
    created.label(EVENT_LABEL) == Some(&identity.event_hash())
        && created.label(IDENTITY_LABEL) == Some(&identity.hash())
}

/// The new Job has lost its labels, so no dispatcher would see its end.
pub(super) fn unmarked(job: &PlannedJob, not_removed: Option<ApiError>) -> Ran {
    let (namespace, name) = (&job.namespace, &job.name);
    let rest = match not_removed {
        None => "it was removed again".to_owned(),
        Some(fault) => format!("and it could not be removed: {fault}"),
    };
    Ran::refused(
        FailureClass::ConfigurationError,
        format!(
            "an admission policy of the cluster took the labels {EVENT_LABEL} and {IDENTITY_LABEL} off the new Job {namespace}/{name}: \
             let it keep them, because the dispatcher finds its Jobs by them; {rest}"
        ),
    )
}

/// A `Delete` event came while the Job ran.
pub(super) fn taken_back() -> Ran {
    Ran::refused(
        FailureClass::BackendError,
        "a Delete event of the same subject took its Job back while it ran",
    )
}

/// The trigger asks for one run, and that run is over.
pub(super) fn skipped(found: &Observed) -> Ran {
    Ran {
        outcome: Outcome::Complete { report: Report::default() },
        tries: found.tries(),
        adopted: true,
        started_at: found.started_at(),
        earlier: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::plan::DELETED_LABEL;
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
        let found = |deletion: Option<&str>, status: &str| -> Observed {
            serde_json::from_value(json!({
                "metadata": {"deletionTimestamp": deletion, "labels": {EVENT_LABEL: own.event_hash(),
                    IDENTITY_LABEL: own.hash(), DELETED_LABEL: "true"}},
                "status": {"conditions": [{"type": "Complete", "status": status}]},
            }))
            .unwrap()
        };
        let removed = Some("2026-01-01T00:00:00Z");
        for (deletion, complete, event, step) in [
            (None, "False", &own, ExistingJobAction::GiveUp),
            (removed, "False", &own, ExistingJobAction::GiveUp),
            (None, "True", &own, ExistingJobAction::Report),
            (None, "False", &other, ExistingJobAction::AwaitEnd),
            (removed, "False", &other, ExistingJobAction::AwaitRemoval),
        ] {
            assert_eq!(
                decide(&found(deletion, complete), event, EndedJobPolicy::Replace),
                step,
                "{deletion:?} {complete}"
            );
        }
    }

    #[test]
    fn an_ended_job_stays_for_a_moment_and_never_longer() {
        let ended = |at: &str| -> Observed {
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
        // A clock that is ahead does not make anybody wait.
        assert_eq!(last_words(&ended("1971-01-01T00:00:00Z"), now), LAST_WORDS);
        assert_eq!(last_words(&Observed::default(), now), Duration::ZERO);
    }
}
