//! Why a Job does not start, in Kubernetes' own words: pure.

use std::time::Duration;

use tokio::time::Instant;

use super::super::Cause;
use super::seen::{ContainerStatus, Event, Pod, Seen};

/// Something that will not pass by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) cause: Cause,
    /// `ErrImagePull: pull access denied for …`.
    pub(super) words: String,
    /// Kubernetes itself says so. Otherwise another run may be luckier.
    pub(super) is_said: bool,
}

impl Stuck {
    fn said(cause: Cause, words: String) -> Self {
        Self { cause, words, is_said: true }
    }
}

/// Since when a Job has not got on.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    since: Instant,
    /// Pods that run, have failed and have succeeded: while these change it gets on.
    counts: [Option<i32>; 3],
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), counts: [None; 3] }
    }

    /// How the Job is now.
    pub(super) fn look(&mut self, seen: &Seen) {
        let status = &seen.status;
        let counts =
            [status.ready, status.failed, status.succeeded].map(|count| count.filter(|count| *count > 0));
        let is_suspended = seen.condition("Suspended").is_some();
        if counts != self.counts || is_suspended {
            (self.since, self.counts) = (Instant::now(), counts);
        }
    }

    /// Returns when it is time to look at the Pods; they may be found to get on.
    pub(super) async fn over(&self) {
        tokio::time::sleep_until(self.since + self.limit).await;
    }

    /// The Pods are as they should be: once more.
    pub(super) fn renew(&mut self) {
        self.since = Instant::now();
    }
}

/// Which object's events would tell more, where Pods alone do not.
pub(super) enum Ask<'a> {
    /// Nothing is wrong.
    Nobody,
    /// The Job's: it has no Pod.
    Job,
    /// This Pod's: its containers wait for something that is not said.
    Pod(&'a Pod),
}

/// What the Pods themselves say.
pub(super) fn of_pods(pods: &[Pod]) -> Result<Stuck, Ask<'_>> {
    let Some(newest) = pods.last() else { return Err(Ask::Job) };
    let Some(status) = newest.status.as_ref().filter(|status| status.phase.as_deref() == Some("Pending"))
    else {
        return Err(Ask::Nobody);
    };
    let unschedulable = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unschedulable {
        let said = condition.message.as_deref().unwrap_or_default();
        return Ok(Stuck::said(Cause::Unschedulable, format!("Unschedulable: {said}")));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    match containers.into_iter().find_map(of_container) {
        Some(stuck) => Ok(stuck),
        None => Err(Ask::Pod(newest)),
    }
}

fn of_container(status: &ContainerStatus) -> Option<Stuck> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let cause = match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => Cause::ImageNotFound,
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Cause::ConfigurationError
        }
        _ => return None,
    };
    let said = waiting.message.as_deref().unwrap_or_default();
    Some(Stuck::said(cause, format!("{reason}: {said}").trim_end_matches([':', ' ']).to_owned()))
}

/// What Kubernetes said about a Job without a Pod. If it says nothing, its Job controller is away: that passes, and the Job goes on.
pub(super) fn of_job_events(events: Option<&[Event]>) -> Option<Stuck> {
    let Some(events) = events else {
        let words = "no Pod was made for it (with events list in its Role the dispatcher could say why)";
        return Some(Stuck { cause: Cause::BackendError, words: words.to_owned(), is_said: false });
    };
    let event = events.iter().rfind(|event| event.reason.as_deref() == Some("FailedCreate"))?;
    let said = event.message.as_deref().unwrap_or_default();
    let cause =
        if said.contains("exceeded quota") { Cause::QuotaExceeded } else { Cause::ConfigurationError };
    Some(Stuck::said(cause, format!("FailedCreate: {said}")))
}

/// What Kubernetes said about a Pod whose containers wait, oldest first; a slow pull is no reason to give up, nor is what stood in
/// the way before it.
pub(super) fn of_pod_events(pod: &Pod, events: Option<&[Event]>) -> Option<Stuck> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_scheduled = conditions
        .into_iter()
        .any(|condition| condition.type_ == "PodScheduled" && condition.status == "True");
    let gets_on = |event: &&Event| matches!(event.reason.as_deref(), Some("Pulling" | "Pulled"));
    let is_bad = |event: &&Event| match event.reason.as_deref() {
        Some("FailedMount" | "FailedAttachVolume" | "FailedCreatePodSandBox") => true,
        Some("FailedScheduling") => !is_scheduled,
        _ => false,
    };
    let event = events?.iter().rev().take_while(|event| !gets_on(event)).find(is_bad)?;
    let reason = event.reason.as_deref().unwrap_or_default();
    let cause = if reason == "FailedScheduling" { Cause::Unschedulable } else { Cause::ConfigurationError };
    let said = event.message.as_deref().unwrap_or_default();
    Some(Stuck::said(cause, format!("{reason}: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({"phase": "Pending", "containerStatuses": [{"name": "work", "image": "x", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}}]})
    }

    fn event(reason: &str, message: &str) -> Event {
        serde_json::from_value(
            json!({"metadata": {}, "involvedObject": {}, "reason": reason, "message": message}),
        )
        .unwrap()
    }

    #[test]
    fn pods_that_will_never_start_say_so_in_kubernetes_words() {
        let table = [
            (
                waiting("ImagePullBackOff", "Back-off pulling image"),
                Cause::ImageNotFound,
                "ImagePullBackOff: Back-off pulling image",
            ),
            (waiting("ErrImagePull", ""), Cause::ImageNotFound, "ErrImagePull"),
            (
                waiting("CreateContainerConfigError", "secret \"knapscen-config\" not found"),
                Cause::ConfigurationError,
                "CreateContainerConfigError: secret \"knapscen-config\" not found",
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": "0/3 nodes are available: 3 Insufficient cpu."}]}),
                Cause::Unschedulable,
                "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.",
            ),
        ];
        for (status, cause, words) in table {
            let found = of_pods(&[pod(&status)]).map_err(|_| "not stuck").unwrap();
            assert_eq!((found.cause, found.words.as_str()), (cause, words), "{status}");
        }
    }

    #[test]
    fn pods_that_run_wait_for_a_slow_pull_or_have_ended_are_not_stuck() {
        assert!(matches!(of_pods(&[pod(&json!({"phase": "Running"}))]), Err(Ask::Nobody)));
        assert!(matches!(of_pods(&[pod(&json!({"phase": "Failed"}))]), Err(Ask::Nobody)));
        assert!(matches!(of_pods(&[pod(&waiting("ContainerCreating", ""))]), Err(Ask::Pod(_))));
        let waits = pod(&waiting("ContainerCreating", ""));
        assert_eq!(of_pod_events(&waits, Some(&[event("Pulling", "Pulling image")])), None);
        assert_eq!(of_pod_events(&waits, None), None);
    }

    #[test]
    fn what_stood_in_the_way_before_the_pull_does_not_count() {
        let pod = |scheduled: &str| {
            pod(&json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": scheduled}]}))
        };
        let stuck = |scheduled: &str, reasons: &[&str]| {
            let events: Vec<_> = reasons.iter().map(|reason| event(reason, "m")).collect();
            of_pod_events(&pod(scheduled), Some(&events)).map(|stuck| stuck.words)
        };
        for reasons in [
            &["FailedScheduling"][..],
            &["FailedScheduling", "Scheduled"],
            &["FailedScheduling", "Scheduled", "FailedMount", "FailedCreatePodSandBox", "Pulling"],
            &["Scheduled", "FailedMount", "Pulled", "Created"],
        ] {
            assert_eq!(stuck("True", reasons), None, "{reasons:?}");
        }
        assert_eq!(stuck("False", &["FailedScheduling"]).as_deref(), Some("FailedScheduling: m"));
        assert_eq!(stuck("True", &["Scheduled", "FailedMount", "Other"]).as_deref(), Some("FailedMount: m"));
    }

    #[test]
    fn a_job_without_a_pod_is_explained_by_its_events_where_they_may_be_read() {
        let quota = event("FailedCreate", "pods \"a-x\" is forbidden: exceeded quota: small");
        let account = event(
            "FailedCreate",
            "error looking up service account default/w: serviceaccount \"w\" not found",
        );
        assert_eq!(of_job_events(Some(&[quota])).unwrap().cause, Cause::QuotaExceeded);
        let found = of_job_events(Some(&[account])).unwrap();
        assert_eq!(found.cause, Cause::ConfigurationError);
        assert!(found.words.contains("serviceaccount \"w\" not found"), "{}", found.words);
        let unknown = of_job_events(None).unwrap();
        assert!(unknown.words.contains("events list") && !unknown.is_said, "{unknown:?}");
    }

    #[test]
    fn a_job_without_a_pod_of_which_nobody_says_why_is_not_stuck() {
        assert_eq!(of_job_events(Some(&[])), None);
        assert_eq!(of_job_events(Some(&[event("Suspended", "m")])), None);
    }

    #[test]
    fn a_volume_that_cannot_be_mounted_is_told_by_the_pods_events() {
        let mount = event("FailedMount", "MountVolume.SetUp failed: secret \"s\" not found");
        let waits = pod(&waiting("ContainerCreating", ""));
        assert_eq!(of_pod_events(&waits, Some(&[mount])).unwrap().cause, Cause::ConfigurationError);
    }
}
