//! Jobs whose Pods will never start: they fail after a limit with Kubernetes' own message, and are removed.

use serde_json::{Value, json};
use tests::kubernetes::{ApiServer, Effect, Ended, Fault, Held};

use crate::bench::{Bench, Dispatcher, WELL};

const SOON: [&str; 2] = ["--stuck-after", "1"];

/// The container waits for this.
fn waiting(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{"name": "work", "image": "knapscen/none:latest", "imageID": "",
        "ready": false, "started": false, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}}]})
}

/// The event becomes a dead letter with this class and message, and the Job is gone.
fn given_up(bench: &Bench, dispatcher: &mut Dispatcher, class: &str, words: &str) {
    let line = dispatcher.until_dead_letter("e-1");
    assert_eq!(line["class"], class, "{line}");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{line}");
    tests::wait::until_true("the Job is gone", || bench.job("stuck").is_none());
}

/// Lets the dispatcher look at Pods. Returns when another event was given up after the same limit.
fn another_is_given_up(bench: &Bench, dispatcher: &mut Dispatcher, held: Option<Held>) {
    let stuck = bench.begin(dispatcher, "e-2", "stuck");
    bench.hand.start_badly(&stuck, &waiting("ErrImagePull", "no such image"));
    drop(held);
    dispatcher.until_dead_letter("e-2");
}

/// A Pod that never starts, by its status. It is created before it is looked at, however long that takes.
fn pod_that_waits(bench: &Bench, status: &Value, class: &str, words: &str) {
    let mut dispatcher = bench.dispatcher_with(&SOON);
    let held = bench.hold("LIST pods");
    let job = bench.begin(&dispatcher, "e-1", "stuck");
    bench.hand.start_badly(&job, status);
    drop(held);
    given_up(bench, &mut dispatcher, class, words);
}

/// A Job without a Pod; its Events say why.
fn job_without_a_pod(bench: &Bench, message: &str, class: &str) {
    let mut dispatcher = bench.dispatcher_with(&SOON);
    let held = bench.hold("LIST pods");
    let job = bench.begin(&dispatcher, "e-1", "stuck");
    bench.hand.tell(&job, "FailedCreate", message);
    drop(held);
    given_up(bench, &mut dispatcher, class, message);
}

/// The image does not exist.
pub(crate) fn image_that_cannot_be_pulled(bench: &Bench) {
    let words = "Back-off pulling image \"knapscen/none:latest\"";
    pod_that_waits(bench, &waiting("ImagePullBackOff", words), "ImageNotFound", words);
}

/// The Secret does not exist.
pub(crate) fn missing_secret(bench: &Bench) {
    let words = "secret \"knapscen-config\" not found";
    pod_that_waits(bench, &waiting("CreateContainerConfigError", words), "ConfigurationError", words);
}

/// No node has room.
pub(crate) fn fits_no_node(bench: &Bench) {
    let words = "0/3 nodes are available: 3 Insufficient cpu.";
    let status = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": words}]});
    pod_that_waits(bench, &status, "Unschedulable", words);
}

/// The service account does not exist.
pub(crate) fn missing_service_account(bench: &Bench) {
    let words = "error looking up service account default/worker: serviceaccount \"worker\" not found";
    job_without_a_pod(bench, words, "ConfigurationError");
}

/// The quota has no room for a Pod.
pub(crate) fn spent_quota(bench: &Bench) {
    let words = "pods \"thing-stuck-x\" is forbidden: exceeded quota: small, requested: pods=1";
    job_without_a_pod(bench, words, "QuotaExceeded");
}

/// A Job that runs longer than the limit goes on.
pub(crate) fn job_that_runs_on(bench: &Bench) {
    let mut dispatcher = bench.dispatcher_with(&SOON);
    let held = bench.hold("LIST pods");
    let job = bench.begin(&dispatcher, "e-1", "slow");
    let pod = bench.hand.start(&job);
    another_is_given_up(bench, &mut dispatcher, held);
    bench.hand.end(&job, &pod, &Ended::well(WELL));
    dispatcher.until_complete("e-1");
}

/// A Pod that waited for a node and now pulls its image is awaited.
pub(crate) fn slow_pull_after_a_wait_for_a_node(bench: &Bench) {
    let mut dispatcher = bench.dispatcher_with(&SOON);
    let held = bench.hold("LIST pods");
    let job = bench.begin(&dispatcher, "e-1", "slow");
    let mut status = waiting("ContainerCreating", "");
    status["conditions"] = json!([{"type": "PodScheduled", "status": "True"}]);
    let pod = bench.hand.start_badly(&job, &status);
    let seen = bench.hand.pod(&bench.namespace, &pod).expect("the Pod");
    bench.hand.tell(&seen, "FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu.");
    another_is_given_up(bench, &mut dispatcher, held);
    bench.hand.end(&job, &pod, &Ended::well(WELL));
    dispatcher.until_complete("e-1");
}

/// Another event's Job that will never start is removed, although no dispatcher awaits it any more.
pub(crate) fn stuck_job_of_an_event_that_is_gone(bench: &Bench) {
    let mut first = bench.dispatcher();
    let job = bench.begin(&first, "e-1", "stuck");
    bench.hand.start_badly(&job, &waiting("ErrImagePull", "no such image"));
    first.running.kill();
    let mut second = bench.dispatcher_apart(&SOON);
    second.publish("e-2", "stuck");
    let next = bench.until_job("stuck", Some(&job));
    bench.finish(&mut second, "e-2", &next);
}

/// The status of the Pod is enough.
const BY_ITS_POD: [&str; 4] =
    ["POST jobs/thing-stuck 201", "LIST pods 200", "GET jobs/thing-stuck 200", "DELETE jobs/thing-stuck 200"];

/// There is no Pod to look at.
const BY_ITS_EVENTS: [&str; 5] = [
    "POST jobs/thing-stuck 201",
    "LIST pods 200",
    "LIST events 200",
    "GET jobs/thing-stuck 200",
    "DELETE jobs/thing-stuck 200",
];

fn calls_of(scenario: impl FnOnce(&Bench)) -> Vec<String> {
    let server = ApiServer::start();
    scenario(&Bench::on(&server));
    server.job_calls()
}

#[test]
fn an_image_that_cannot_be_pulled_ends_the_event_in_kubernetes_words() {
    assert_eq!(calls_of(image_that_cannot_be_pulled), BY_ITS_POD);
}

#[test]
fn a_missing_secret_ends_the_event_in_kubernetes_words() {
    assert_eq!(calls_of(missing_secret), BY_ITS_POD);
}

#[test]
fn a_pod_that_fits_no_node_ends_the_event_in_kubernetes_words() {
    assert_eq!(calls_of(fits_no_node), BY_ITS_POD);
}

#[test]
fn a_missing_service_account_ends_the_event_in_the_words_of_the_jobs_events() {
    assert_eq!(calls_of(missing_service_account), BY_ITS_EVENTS);
}

#[test]
fn a_spent_quota_ends_the_event_in_the_words_of_the_jobs_events() {
    assert_eq!(calls_of(spent_quota), BY_ITS_EVENTS);
}

#[test]
fn a_stuck_job_that_changes_at_the_last_moment_is_looked_at_again() {
    let server = ApiServer::start();
    server.fault(Fault::once("DELETE jobs", Effect::conflict()));
    image_that_cannot_be_pulled(&Bench::on(&server));
    let mut expected = BY_ITS_POD.to_vec();
    expected[3] = "DELETE jobs/thing-stuck 409";
    expected.extend(&BY_ITS_POD[1..]);
    assert_eq!(server.job_calls(), expected);
}

#[test]
fn without_the_permission_to_read_events_a_job_without_a_pod_is_tried_again() {
    let server = ApiServer::start();
    server.fault(Fault::times(usize::MAX, "LIST events", Effect::forbidden("list", "events", "")));
    let bench = Bench::on(&server);
    let mut dispatcher = bench.dispatcher_with(&SOON);
    let job = bench.begin(&dispatcher, "e-1", "stuck");
    let line = dispatcher.until_logged("failed, to be tried again", "e-1");
    assert!(
        line["reason"].as_str().is_some_and(|reason| reason.contains("no Pod was made for it")),
        "{line}"
    );
    server.mend();
    let again = bench.until_job("stuck", Some(&job));
    bench.finish(&mut dispatcher, "e-1", &again);
    let mut expected = BY_ITS_EVENTS.to_vec();
    expected[2] = "LIST events 403";
    assert_eq!(server.job_calls()[..5], expected);
}

#[test]
fn a_job_without_a_pod_of_which_kubernetes_says_nothing_waits_for_its_controller() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let mut dispatcher = bench.dispatcher_with(&SOON);
    let job = bench.begin(&dispatcher, "e-1", "one");
    server.until_called("LIST events 200", 2);
    bench.finish(&mut dispatcher, "e-1", &job);
    let calls = server.job_calls();
    assert_eq!(calls[..3], ["POST jobs/thing-one 201", "LIST pods 200", "LIST events 200"]);
    assert!(!calls.iter().any(|call| call.starts_with("DELETE")), "{calls:?}");
}

#[test]
fn a_job_that_runs_longer_than_the_limit_is_left_alone() {
    let calls = calls_of(job_that_runs_on);
    let of_slow: Vec<_> = calls.iter().filter(|call| call.contains("thing-slow")).collect();
    assert_eq!(of_slow, ["POST jobs/thing-slow 201"]);
}

#[test]
fn a_slow_pull_after_a_wait_for_a_node_is_left_alone() {
    let calls = calls_of(slow_pull_after_a_wait_for_a_node);
    let of_slow: Vec<_> = calls.iter().filter(|call| call.contains("thing-slow")).collect();
    assert_eq!(of_slow, ["POST jobs/thing-slow 201"]);
}

#[test]
fn a_stuck_job_of_an_event_that_is_gone_makes_room_for_the_next_one() {
    assert_eq!(
        calls_of(stuck_job_of_an_event_that_is_gone),
        [
            "POST jobs/thing-stuck 201",
            "POST jobs/thing-stuck 409",
            "GET jobs/thing-stuck 200",
            "LIST pods 200",
            "GET jobs/thing-stuck 200",
            "DELETE jobs/thing-stuck 200",
            "POST jobs/thing-stuck 201",
            "LIST pods 200",
        ]
    );
}
