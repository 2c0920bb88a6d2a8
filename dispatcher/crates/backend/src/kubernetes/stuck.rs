//! Finds out why a Job does not start, with Kubernetes' message. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::super::FailureClass;
use super::observed::{ContainerStatus, Event, Observed, Pod};

/// A problem that does not pass by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) class: FailureClass,
    /// `ErrImagePull: pull access denied for …`.
    pub(super) words: String,
    /// Kubernetes itself reports this reason. Otherwise it is our guess, and another run may succeed.
    pub(super) is_confirmed: bool,
}

impl Stuck {
    fn said(class: FailureClass, words: String) -> Self {
        Self { class, words, is_confirmed: true }
    }
}

/// How long a Job has made no progress.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    since: Instant,
    /// The numbers of Pods that run, failed and succeeded. A change of these is progress.
    counts: [Option<i32>; 3],
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), counts: [None; 3] }
    }

    /// Notes the present state of the Job.
    pub(super) fn look(&mut self, seen: &Observed) {
        let status = &seen.status;
        let counts =
            [status.ready, status.failed, status.succeeded].map(|count| count.filter(|count| *count > 0));
        let is_suspended = seen.condition("Suspended").is_some();
        if counts != self.counts || is_suspended {
            (self.since, self.counts) = (Instant::now(), counts);
        }
    }

    /// Returns when it is time to look at the Pods. They may show progress.
    pub(super) async fn over(&self) {
        tokio::time::sleep_until(self.since + self.limit).await;
    }

    /// The Pods are fine, so wait as long again.
    pub(super) fn renew(&mut self) {
        self.since = Instant::now();
    }
}

/// Whose Events may tell more, if the Pods alone do not tell enough.
pub(super) enum Ask<'a> {
    /// Nothing is wrong.
    Nobody,
    /// Those of the Job: it has no Pod.
    Job,
    /// Those of this Pod: its containers wait without a reason.
    Pod(&'a Pod),
}

/// What the Pods alone tell.
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
        return Ok(Stuck::said(FailureClass::Unschedulable, format!("Unschedulable: {said}")));
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
    let class = match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => FailureClass::ImageNotFound,
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            FailureClass::ConfigurationError
        }
        _ => return None,
    };
    let said = waiting.message.as_deref().unwrap_or_default();
    Some(Stuck::said(class, format!("{reason}: {said}").trim_end_matches([':', ' ']).to_owned()))
}

/// What Kubernetes says about a Job without a Pod. If it says nothing, its Job controller is away; that passes, and
/// the Job goes on.
pub(super) fn of_job_events(events: Option<&[Event]>) -> Option<Stuck> {
    let Some(events) = events else {
        let words = "no Pod was made for it (with events list in its Role the dispatcher could say why)";
        return Some(Stuck {
            class: FailureClass::BackendError,
            words: words.to_owned(),
            is_confirmed: false,
        });
    };
    let event = events.iter().rfind(|event| event.reason.as_deref() == Some("FailedCreate"))?;
    let said = event.message.as_deref().unwrap_or_default();
    let class = if said.contains("exceeded quota") {
        FailureClass::QuotaExceeded
    } else {
        FailureClass::ConfigurationError
    };
    Some(Stuck::said(class, format!("FailedCreate: {said}")))
}

/// What Kubernetes says about a Pod whose containers wait, oldest first. A slow pull is no reason to give up, nor are
/// problems before it.
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
    let class = if reason == "FailedScheduling" {
        FailureClass::Unschedulable
    } else {
        FailureClass::ConfigurationError
    };
    let said = event.message.as_deref().unwrap_or_default();
    Some(Stuck::said(class, format!("{reason}: {said}")))
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
                FailureClass::ImageNotFound,
                "ImagePullBackOff: Back-off pulling image",
            ),
            (waiting("ErrImagePull", ""), FailureClass::ImageNotFound, "ErrImagePull"),
            (
                waiting("CreateContainerConfigError", "secret \"knapscen-config\" not found"),
                FailureClass::ConfigurationError,
                "CreateContainerConfigError: secret \"knapscen-config\" not found",
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": "0/3 nodes are available: 3 Insufficient cpu."}]}),
                FailureClass::Unschedulable,
                "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.",
            ),
        ];
        for (status, class, words) in table {
            let found = of_pods(&[pod(&status)]).map_err(|_| "not stuck").unwrap();
            assert_eq!((found.class, found.words.as_str()), (class, words), "{status}");
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
        assert_eq!(of_job_events(Some(&[quota])).unwrap().class, FailureClass::QuotaExceeded);
        let found = of_job_events(Some(&[account])).unwrap();
        assert_eq!(found.class, FailureClass::ConfigurationError);
        assert!(found.words.contains("serviceaccount \"w\" not found"), "{}", found.words);
        let unknown = of_job_events(None).unwrap();
        assert!(unknown.words.contains("events list") && !unknown.is_confirmed, "{unknown:?}");
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
        assert_eq!(of_pod_events(&waits, Some(&[mount])).unwrap().class, FailureClass::ConfigurationError);
    }
}
