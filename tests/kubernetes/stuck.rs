//! Jobs whose Pods will never start: failed after a limit with Kubernetes' own words, and removed.

use serde_json::{Value, json};
use tests::kubernetes::{ApiServer, Effect, Ended, Fault};

use crate::bench::{Bench, Dispatcher, WELL};

const SOON: [&str; 2] = ["--stuck-after", "1"];

/// The container waits for this.
fn waiting(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{"name": "work", "image": "knapscen/none:latest", "imageID": "",
        "ready": false, "started": false, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}}]})
}

/// The event is a dead letter of this class with these words, and the Job is gone.
fn given_up(bench: &Bench, dispatcher: &mut Dispatcher, class: &str, words: &str) {
    let line = dispatcher.until_dead_letter("e-1");
    assert_eq!(line["class"], class, "{line}");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{line}");
    tests::wait::until_true("the Job is gone", || bench.job("stuck").is_none());
}

/// A Pod that never starts, by its status. Nobody looks at it before it is there, however long that takes here.
fn pod_that_waits(bench: &Bench, status: &Value, class: &str, words: &str) {
    let mut dispatcher = bench.dispatcher_with(&SOON);
    let held = bench.hold("LIST pods");
    let job = bench.begin(&dispatcher, "e-1", "stuck");
    bench.hand.start_badly(&job, status);
    drop(held);
    given_up(bench, &mut dispatcher, class, words);
}

/// A Job that gets no Pod, as its events say.
fn job_without_a_pod(bench: &Bench, message: &str, class: &str) {
    let mut dispatcher = bench.dispatcher_with(&SOON);
    let held = bench.hold("LIST pods");
    let job = bench.begin(&dispatcher, "e-1", "stuck");
    bench.hand.tell(&job, "FailedCreate", message);
    drop(held);
    given_up(bench, &mut dispatcher, class, message);
}

/// The image is not there.
pub(crate) fn image_that_cannot_be_pulled(bench: &Bench) {
    let words = "Back-off pulling image \"knapscen/none:latest\"";
    pod_that_waits(bench, &waiting("ImagePullBackOff", words), "ImageNotFound", words);
}

/// The Secret is not there.
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

/// The service account is not there.
pub(crate) fn missing_service_account(bench: &Bench) {
    let words = "error looking up service account default/worker: serviceaccount \"worker\" not found";
    job_without_a_pod(bench, words, "ConfigurationError");
}

/// The quota has no room for a Pod.
pub(crate) fn spent_quota(bench: &Bench) {
    let words = "pods \"thing-stuck-x\" is forbidden: exceeded quota: small, requested: pods=1";
    job_without_a_pod(bench, words, "QuotaExceeded");
}

/// A Job that runs longer than the limit is left alone.
pub(crate) fn job_that_runs_on(bench: &Bench) {
    let mut dispatcher = bench.dispatcher_with(&SOON);
    let held = bench.hold("LIST pods");
    let job = bench.begin(&dispatcher, "e-1", "slow");
    let pod = bench.hand.start(&job);
    // Another event is given up meanwhile, after the same limit.
    let stuck = bench.begin(&dispatcher, "e-2", "stuck");
    bench.hand.start_badly(&stuck, &waiting("ErrImagePull", "no such image"));
    drop(held);
    dispatcher.until_dead_letter("e-2");
    bench.hand.end(&job, &pod, &Ended::well(WELL));
    dispatcher.until_complete("e-1");
}

#[test]
fn an_image_that_cannot_be_pulled_ends_the_event_in_kubernetes_words() {
    let server = ApiServer::start();
    image_that_cannot_be_pulled(&Bench::on(&server));
    assert_eq!(
        server.job_calls(),
        ["POST jobs/thing-stuck 201", "LIST pods 200", "DELETE jobs/thing-stuck 200"]
    );
}

#[test]
fn a_missing_secret_ends_the_event_in_kubernetes_words() {
    let server = ApiServer::start();
    missing_secret(&Bench::on(&server));
}

#[test]
fn a_pod_that_fits_no_node_ends_the_event_in_kubernetes_words() {
    let server = ApiServer::start();
    fits_no_node(&Bench::on(&server));
}

#[test]
fn a_missing_service_account_ends_the_event_in_the_words_of_the_jobs_events() {
    let server = ApiServer::start();
    missing_service_account(&Bench::on(&server));
    assert_eq!(
        server.job_calls(),
        ["POST jobs/thing-stuck 201", "LIST pods 200", "LIST events 200", "DELETE jobs/thing-stuck 200"]
    );
}

#[test]
fn a_spent_quota_ends_the_event_in_the_words_of_the_jobs_events() {
    let server = ApiServer::start();
    spent_quota(&Bench::on(&server));
}

#[test]
fn without_the_permission_to_read_events_a_job_without_a_pod_is_given_up_all_the_same() {
    let server = ApiServer::start();
    server.fault(Fault::times(9, "LIST events", Effect::forbidden("list", "events", "")));
    let bench = Bench::on(&server);
    let mut dispatcher = bench.dispatcher_with(&SOON);
    dispatcher.publish("e-1", "stuck");
    given_up(&bench, &mut dispatcher, "BackendError", "no Pod was made for it");
}

#[test]
fn a_job_that_runs_longer_than_the_limit_is_left_alone() {
    let server = ApiServer::start();
    job_that_runs_on(&Bench::on(&server));
}
