//! The outcome of an ended Job, from its conditions and its remaining Pods. Pure.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated};
use shared::error::Class;

use super::super::{Failure, FailureClass, Outcome, Report, Try};
use super::event_time;
use super::observed::{ContainerStatus, Event, Observed, Pod};

/// The API server shortens a name to this length before it adds five characters to make the names of Pods.
const LONGEST_STEM: usize = 58;

/// What the end of a Job means. If its Pods are gone or cannot be read, less is known.
pub(super) fn outcome(container: &str, seen: &Observed, pods: &[Pod]) -> Outcome {
    if seen.is_complete() {
        let last = pods.iter().filter_map(|pod| ended(pod, container)).rfind(|ended| ended.exit_code == 0);
        return Outcome::Complete { report: last.map(report).unwrap_or_default() };
    }
    let failed = pods.iter().rev().find_map(|pod| ended_badly(pod, container));
    let condition = seen.failure();
    let reason = condition.and_then(|condition| condition.reason.as_deref()).unwrap_or("Failed");
    let exit_code = failed.map(|(_, ended)| ended.exit_code);
    let report = failed.map(|(_, ended)| report(ended)).unwrap_or_default();
    let other = failed.map(|(name, _)| name).filter(|name| *name != container);
    let disturbed = pods.iter().any(was_disturbed);
    let (class, retry) = match reason {
        "PodFailurePolicy" => (FailureClass::PodFailurePolicy, false),
        // Usually a server hung, and that passes.
        "DeadlineExceeded" => (FailureClass::DeadlineExceeded, true),
        _ => (FailureClass::BackoffLimitExceeded, disturbed || exit_code.is_none_or(retry_helps)),
    };
    let said = condition.and_then(|condition| condition.message.as_deref()).unwrap_or_default();
    let message = words(reason, said, other, failed.map(|(_, ended)| ended), &report, pods);
    Failure { class, exit_code, message, report }.outcome(retry)
}

/// The tries before the last one whose Pods still exist, oldest first.
pub(super) fn earlier(container: &str, pods: &[Pod]) -> Vec<Try> {
    let of = |ended: &ContainerStateTerminated| {
        let at = SystemTime::from(ended.finished_at.as_ref()?.0);
        let message = match report(ended).message() {
            Some(said) => format!("exit code {}: {said}", ended.exit_code),
            None => format!("exit code {}", ended.exit_code),
        };
        Some(Try { ended_at: at.into(), exit_code: Some(ended.exit_code), message })
    };
    let last = |pod| ended_badly(pod, container).map(|(_, ended)| ended).or_else(|| ended(pod, container));
    let mut all: Vec<_> = pods.iter().filter_map(|pod| of(last(pod)?)).collect();
    all.sort_by_key(|one| one.ended_at);
    all.pop();
    all
}

/// The newest warning about this Job or one of its Pods, except that it has failed. The Pods are gone, so only their
/// names are known. Names that a Pod of another Job, or of an earlier Job with this name, may have are left out.
pub(super) fn warning(seen: &Observed, events: &[Event]) -> Option<String> {
    let made_at = seen.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let stem: String = format!("{}-", seen.name()).chars().take(LONGEST_STEM).collect();
    let is_pod =
        |name: &str| name.strip_prefix(&stem).is_some_and(|end| !end.is_empty() && !end.contains('-'));
    let is_of_job = |event: &&Event| {
        let object = &event.involved_object;
        match object.kind.as_deref() {
            Some("Pod") => {
                object.name.as_deref().is_some_and(is_pod) && event_time::last_seen(event) >= made_at
            }
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

/// The container that failed; the first one if several did, because the others may have been stopped because of it.
/// If their times are equal or unknown, the worker's own container comes first, then those before it.
fn ended_badly<'a>(pod: &'a Pod, container: &str) -> Option<(&'a str, &'a ContainerStateTerminated)> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().flatten();
    let (own, others): (Vec<_>, Vec<_>) = all.partition(|status| status.name == container);
    let in_order = own.into_iter().chain(status.init_container_statuses.iter().flatten()).chain(others);
    let failed = in_order.filter_map(|status| {
        let ended = terminated(status).filter(|ended| ended.exit_code != 0)?;
        Some((status.name.as_str(), ended))
    });
    // Of equal ones, the first is taken.
    failed.min_by_key(|(_, ended)| ended.finished_at.as_ref().map(|time| time.0))
}

/// How the container ended last.
fn ended<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    terminated(statuses.iter().find(|status| status.name == container)?)
}

fn terminated(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    fn of_state(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
        state.and_then(|state| state.terminated.as_ref())
    }
    of_state(status.state.as_ref()).or_else(|| of_state(status.last_state.as_ref()))
}

/// What the worker reported last. With `FallbackToLogsOnError` this may be the end of its output; then its last line
/// counts.
fn report(ended: &ContainerStateTerminated) -> Report {
    let text = ended.message.as_deref().unwrap_or_default();
    let whole = Report::from_text(text);
    if whole.fields().is_some() {
        return whole;
    }
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).map(Report::from_text);
    line.filter(|line| line.fields().is_some()).unwrap_or(whole)
}

/// Whether the same Job may succeed later: it said so (75), or something outside ended it.
fn retry_helps(code: i32) -> bool {
    // 128 + SIGHUP, SIGINT, SIGKILL or SIGTERM: people and machines send these, bugs do not.
    matches!(code, 129 | 130 | 137 | 143) || Class::from_exit_code(code).is_some_and(Class::retry)
}

/// The Pod was evicted or preempted: the node did this.
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
    other: Option<&str>,
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
        // `Error` tells nothing; `OOMKilled` and `StartError` do.
        let why = ended.reason.as_deref().filter(|why| !matches!(*why, "Error" | "Completed"));
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        let message = report.message().map(|message| format!(": {message}")).unwrap_or_default();
        let who = other.map(|name| format!("container {name}: ")).unwrap_or_default();
        add(format!("{who}exit code {}{why}{message}", ended.exit_code));
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

    fn job(conditions: &Value) -> Observed {
        serde_json::from_value(
            json!({"metadata": {"name": "a", "uid": "1"}, "status": {"conditions": conditions}}),
        )
        .unwrap()
    }

    fn failed(reason: &str) -> Observed {
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

    fn outcome_of(seen: &Observed, pods: &[Pod]) -> Outcome {
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
            assert_eq!(matches!(found, Outcome::TryAgain(_)), again, "{reason} {found:?}");
        }
    }

    #[test]
    fn the_container_that_failed_first_counts_whichever_it_is() {
        let terminated = |name: &str, code: i32, second: u32, message: &str| {
            json!({"name": name, "image": "x", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": code,
                "reason": "Error", "message": message, "finishedAt": format!("2026-01-01T00:00:0{second}Z")}}})
        };
        let waiting = json!({"name": "work", "state": {"waiting": {"reason": "PodInitializing"}}});
        let init = pod(
            &json!({"phase": "Failed", "initContainerStatuses": [terminated("setup", 65, 1, "no such tier")],
            "containerStatuses": [waiting]}),
        );
        let beside = pod(&json!({"phase": "Failed",
            "containerStatuses": [terminated("work", 0, 1, ""), terminated("log", 3, 2, "")]}));
        let stopped = pod(&json!({"phase": "Failed",
            "containerStatuses": [terminated("log", 143, 3, ""), terminated("work", 75, 2, "away")]}));
        let because_of_other = pod(&json!({"phase": "Failed",
            "containerStatuses": [terminated("work", 143, 3, ""), terminated("log", 70, 2, "broken")]}));
        for (pod, code, again, words) in [
            (init, 65, false, "container setup: exit code 65: no such tier"),
            (beside, 3, false, "container log: exit code 3"),
            (stopped, 75, true, "; exit code 75: away"),
            (because_of_other, 70, false, "container log: exit code 70: broken"),
        ] {
            let found = outcome_of(&failed("BackoffLimitExceeded"), &[pod]);
            let (Outcome::TryAgain(Failure { exit_code, message, .. })
            | Outcome::Failed(Failure { exit_code, message, .. })) = &found
            else {
                panic!("it has failed")
            };
            assert_eq!((*exit_code, matches!(found, Outcome::TryAgain(_))), (Some(code), again), "{words}");
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn the_words_are_those_of_job_container_and_worker() {
        let output = "starting\n{\"exit_code\":75,\"error\":{\"message\":\"no database\"}}\n";
        let Outcome::TryAgain(Failure { message, report, exit_code, .. }) =
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
        let job = |name: &str, made: u32| -> Observed {
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
