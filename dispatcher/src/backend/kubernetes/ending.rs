//! How an ended Job ended, from its conditions and what is left of its Pods: pure.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::ContainerStateTerminated;
use shared::error::Class;

use super::super::{Cause, Outcome, Report, Try};
use super::seen::{Event, Pod, Seen};
use super::told;

/// The API server cuts a name that others are to be made of down to this, and puts five characters after it.
const LONGEST_STEM: usize = 58;

/// What a Job's end means. Its Pods may be gone, or may not be read: then less is known.
pub(super) fn outcome(container: &str, seen: &Seen, pods: &[Pod]) -> Outcome {
    if seen.is_complete() {
        let last = pods.iter().filter_map(|pod| ended(pod, container)).rfind(|ended| ended.exit_code == 0);
        return Outcome::Complete { report: last.map(report).unwrap_or_default() };
    }
    let failed = pods.iter().rev().find_map(|pod| {
        let ended = ended(pod, container).filter(|ended| ended.exit_code != 0)?;
        Some((pod, ended))
    });
    let condition = seen.failure();
    let reason = condition.and_then(|condition| condition.reason.as_deref()).unwrap_or("Failed");
    let exit_code = failed.map(|(_, ended)| ended.exit_code);
    let report = failed.map(|(_, ended)| report(ended)).unwrap_or_default();
    let disturbed = pods.iter().any(was_disturbed);
    let (cause, retry) = match reason {
        "PodFailurePolicy" => (Cause::PodFailurePolicy, false),
        // A hung server is the usual reason, and that passes.
        "DeadlineExceeded" => (Cause::DeadlineExceeded, true),
        _ => (Cause::BackoffLimitExceeded, disturbed || exit_code.is_none_or(retry_helps)),
    };
    let said = condition.and_then(|condition| condition.message.as_deref()).unwrap_or_default();
    let message = words(reason, said, failed.map(|(_, ended)| ended), &report, pods);
    if retry {
        Outcome::TryAgain { cause, exit_code, message, report }
    } else {
        Outcome::Failed { cause, exit_code, message, report }
    }
}

/// The tries before the last one, oldest first, of which the Pods are left.
pub(super) fn earlier(container: &str, pods: &[Pod]) -> Vec<Try> {
    let of = |ended: &ContainerStateTerminated| {
        let at = SystemTime::from(ended.finished_at.as_ref()?.0);
        let message = match report(ended).message() {
            Some(said) => format!("exit code {}: {said}", ended.exit_code),
            None => format!("exit code {}", ended.exit_code),
        };
        Some(Try { ended_at: at.into(), exit_code: Some(ended.exit_code), message })
    };
    let mut all: Vec<_> = pods.iter().filter_map(|pod| of(ended(pod, container)?)).collect();
    all.sort_by_key(|one| one.ended_at);
    all.pop();
    all
}

/// The newest warning about a Pod of this Job, or about the Job itself, other than that it has failed. The Pods are gone, so they
/// are known by name alone: not by one that a Pod of another Job, or of an earlier one of this name, may have.
pub(super) fn warning(seen: &Seen, events: &[Event]) -> Option<String> {
    let made_at = seen.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let stem: String = format!("{}-", seen.name()).chars().take(LONGEST_STEM).collect();
    let is_pod =
        |name: &str| name.strip_prefix(&stem).is_some_and(|end| !end.is_empty() && !end.contains('-'));
    let is_of_job = |event: &&Event| {
        let object = &event.involved_object;
        match object.kind.as_deref() {
            Some("Pod") => object.name.as_deref().is_some_and(is_pod) && told::at(event) >= made_at,
            _ => object.uid.as_deref() == Some(seen.uid()),
        }
    };
    let says_more = |event: &&Event| {
        !matches!(
            event.reason.as_deref(),
            Some("BackoffLimitExceeded" | "DeadlineExceeded" | "PodFailurePolicy")
        )
    };
    let event = events.iter().filter(is_of_job).rfind(says_more)?;
    let (reason, said) = (event.reason.as_deref()?, event.message.as_deref().unwrap_or_default());
    Some(format!("{reason}: {said}"))
}

/// How the container ended, the last time it did.
fn ended<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let status = statuses.iter().find(|status| status.name == container)?;
    let terminated = |state: &'a Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().and_then(|state| state.terminated.as_ref())
    };
    terminated(&status.state).or_else(|| terminated(&status.last_state))
}

/// The worker's last words. With `FallbackToLogsOnError` they may be the end of its output, whose last line they are.
fn report(ended: &ContainerStateTerminated) -> Report {
    let text = ended.message.as_deref().unwrap_or_default();
    let whole = Report::from_text(text);
    if whole.fields().is_some() {
        return whole;
    }
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).map(Report::from_text);
    line.filter(|line| line.fields().is_some()).unwrap_or(whole)
}

/// Whether the same Job may do better later: it said so (75), or something outside ended it.
fn retry_helps(code: i32) -> bool {
    // 128 + SIGHUP, SIGINT, SIGKILL, SIGTERM: sent by people and machines, not by bugs.
    matches!(code, 129 | 130 | 137 | 143) || Class::from_exit_code(code).is_some_and(Class::retry)
}

/// Evicted, or in the way of something: the node's doing.
fn was_disturbed(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let disruption = |condition: &k8s_openapi::api::core::v1::PodCondition| {
        condition.type_ == "DisruptionTarget" && condition.status == "True"
    };
    status.reason.as_deref() == Some("Evicted") || status.conditions.iter().flatten().any(disruption)
}

/// `BackoffLimitExceeded: Job has reached …; exit code 75: database away`.
fn words(
    reason: &str,
    said: &str,
    ended: Option<&ContainerStateTerminated>,
    report: &Report,
    pods: &[Pod],
) -> String {
    let mut words = if said.is_empty() { reason.to_owned() } else { format!("{reason}: {said}") };
    let mut add = |more: String| {
        words.push_str("; ");
        words.push_str(&more);
    };
    if let Some(ended) = ended {
        // `Error` says nothing; `OOMKilled` and `StartError` do.
        let why = ended.reason.as_deref().filter(|why| !matches!(*why, "Error" | "Completed"));
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        let message = report.message().map(|message| format!(": {message}")).unwrap_or_default();
        add(format!("exit code {}{why}{message}", ended.exit_code));
    }
    let newest = pods.last().and_then(|pod| pod.status.as_ref());
    if let Some(reason) = newest.and_then(|status| status.reason.as_deref()) {
        let message = newest.and_then(|status| status.message.as_deref()).unwrap_or_default();
        add(format!("its Pod: {reason} {message}").trim_end().to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(conditions: &Value) -> Seen {
        serde_json::from_value(
            json!({"metadata": {"name": "a", "uid": "1"}, "status": {"conditions": conditions}}),
        )
        .unwrap()
    }

    fn failed(reason: &str) -> Seen {
        job(&json!([{"type": "FailureTarget", "status": "True", "reason": reason},
            {"type": "Failed", "status": "True", "reason": reason, "message": "Job has failed"}]))
    }

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "a-x"}, "status": status})).unwrap()
    }

    fn ended(code: i32, reason: &str, message: &str) -> Pod {
        pod(
            &json!({"phase": "Failed", "containerStatuses": [{"name": "work", "image": "x", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}]}),
        )
    }

    fn outcome_of(seen: &Seen, pods: &[Pod]) -> Outcome {
        outcome("work", seen, pods)
    }

    #[test]
    fn a_job_has_ended_only_with_complete_or_failed() {
        let announced = job(
            &json!([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "False"}]),
        );
        assert!(!announced.has_ended());
        assert!(!job(&json!([{"type": "FailureTarget", "status": "True"}])).has_ended());
        assert!(!job(&Value::Null).has_ended());
        assert!(job(&json!([{"type": "Complete", "status": "True"}])).has_ended());
        assert!(failed("DeadlineExceeded").has_ended());
    }

    #[test]
    fn reason_exit_code_and_disturbance_say_whether_another_run_may_help() {
        let evicted = pod(
            &json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
        );
        let table = [
            ("PodFailurePolicy", vec![ended(65, "Error", "")], false),
            ("BackoffLimitExceeded", vec![ended(1, "Error", "")], false),
            ("BackoffLimitExceeded", vec![ended(70, "Error", "")], false),
            ("BackoffLimitExceeded", vec![ended(75, "Error", "")], true),
            ("BackoffLimitExceeded", vec![ended(137, "OOMKilled", "")], true),
            ("BackoffLimitExceeded", vec![evicted], true),
            ("BackoffLimitExceeded", vec![], true),
            ("DeadlineExceeded", vec![], true),
        ];
        for (reason, pods, again) in table {
            let found = outcome_of(&failed(reason), &pods);
            assert_eq!(matches!(found, Outcome::TryAgain { .. }), again, "{reason} {found:?}");
        }
    }

    #[test]
    fn the_words_are_those_of_job_container_and_worker() {
        let output = "starting\n{\"exit_code\":75,\"error\":{\"message\":\"no database\"}}\n";
        let Outcome::TryAgain { message, report, exit_code, .. } =
            outcome_of(&failed("BackoffLimitExceeded"), &[ended(137, "OOMKilled", output)])
        else {
            panic!("another run may help")
        };
        assert_eq!(message, "BackoffLimitExceeded: Job has failed; exit code 137 (OOMKilled): no database");
        assert_eq!((exit_code, report.exit_code()), (Some(137), Some(75)));
    }

    fn event(kind: &str, name: &str, reason: &str) -> Event {
        serde_json::from_value(
            json!({"metadata": {}, "involvedObject": {"kind": kind, "name": name, "uid": "1"}, "reason": reason, "message": "m",
                "lastTimestamp": "2026-01-01T00:00:05Z"}),
        )
        .unwrap()
    }

    #[test]
    fn a_warning_of_another_job_or_of_an_earlier_one_of_the_name_is_not_taken() {
        let job = |name: &str, made: u32| -> Seen {
            serde_json::from_value(json!({"metadata": {"name": name, "uid": "2",
                "creationTimestamp": format!("2026-01-01T00:00:0{made}Z")}}))
            .unwrap()
        };
        let long = "a".repeat(63);
        for (job, pod, is_taken) in [
            (job("a", 5), "a-x1y2z", true),
            (job("a", 6), "a-x1y2z", false),
            (job("a", 5), "a-b-x1y2z", false),
            (job("a", 5), "a-", false),
            (job("a", 5), "ab-x1y2z", false),
            (job(&long, 5), &format!("{}x1y2z", &long[..58]), true),
        ] {
            assert_eq!(warning(&job, &[event("Pod", pod, "Failed")]).is_some(), is_taken, "{pod} of {job:?}");
        }
    }

    #[test]
    fn the_newest_warning_about_the_job_or_its_pods_is_told() {
        let events = [
            event("Pod", "a-x", "Failed"),
            event("Pod", "b-x", "FailedMount"),
            event("Job", "a", "DeadlineExceeded"),
        ];
        assert_eq!(warning(&failed("DeadlineExceeded"), &events).as_deref(), Some("Failed: m"));
        assert_eq!(warning(&failed("DeadlineExceeded"), &[]), None);
    }
}
