//! An API server that is away, busy, slow, forgetful, or refuses: nothing is lost, and these are the calls.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::http;
use tests::kubernetes::{ApiServer, Effect, Ended, Fault, kubeconfig};
use tests::proxy::{Mode, Proxy};
use tests::wait;

use crate::bench::{Bench, Dispatcher, WELL};

/// At first everything works.
fn ready() -> (ApiServer, Bench, Dispatcher) {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let dispatcher = bench.dispatcher();
    (server, bench, dispatcher)
}

/// The same, with this many attempts before a dead letter.
fn ready_for(attempts: &str) -> (ApiServer, Bench, Dispatcher) {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let dispatcher = bench.dispatcher_with(&["--max-attempts", attempts]);
    (server, bench, dispatcher)
}

/// One fault on creating that is repeated silently, and these calls.
fn creating(effect: Effect, calls: &[&str]) {
    assert_eq!(creating_says(effect, calls), None);
}

/// One fault on creating, these calls, and the reason logged for the first delivery. A fault of the API server does
/// not count as an attempt of the event, so one is enough.
fn creating_says(effect: Effect, calls: &[&str]) -> Option<String> {
    creating_within("1", effect, calls)
}

fn creating_within(attempts: &str, effect: Effect, calls: &[&str]) -> Option<String> {
    let (server, bench, mut dispatcher) = ready_for(attempts);
    server.fault(Fault::once("POST jobs", effect));
    bench.runs(&mut dispatcher, "e-1", "one");
    assert_eq!(server.job_calls(), calls);
    assert_eq!(server.faults_left(), 0);
    dispatcher.logged("failed, to be tried again", "e-1").map(|line| line["reason"].to_string())
}

#[test]
fn a_busy_server_is_asked_again_after_the_time_it_wants() {
    creating(Effect::throttled(1), &["POST jobs/thing-one 429", "POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn a_conflict_with_a_quota_is_tried_again() {
    creating(Effect::conflict(), &["POST jobs/thing-one 409", "POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn a_server_that_cannot_now_is_asked_again() {
    let effect = Effect::status(503, "ServiceUnavailable", "etcdserver: leader changed", &Value::Null);
    creating(effect, &["POST jobs/thing-one 503", "POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn a_broken_answer_is_asked_for_again() {
    creating(Effect::Cut, &["POST jobs/thing-one 200", "POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn a_job_made_by_a_call_whose_answer_was_lost_is_found() {
    creating(
        Effect::DoneThenCut,
        &["POST jobs/thing-one 200", "POST jobs/thing-one 409", "GET jobs/thing-one 200", "LIST pods 200"],
    );
}

#[test]
fn a_slow_server_is_waited_for() {
    creating(Effect::Slow(Duration::from_secs(1)), &["POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn an_internal_error_is_tried_again_as_a_new_delivery() {
    let effect = Effect::status(500, "InternalError", "failed calling webhook \"policy\"", &Value::Null);
    let said =
        creating_says(effect, &["POST jobs/thing-one 500", "POST jobs/thing-one 201", "LIST pods 200"]);
    assert!(said.is_some_and(|said| said.contains("failed calling webhook")));
}

#[test]
fn a_namespace_that_is_being_removed_is_reported_and_tried_again() {
    let said = creating_says(
        Effect::terminating("default"),
        &["POST jobs/thing-one 403", "POST jobs/thing-one 201", "LIST pods 200"],
    );
    assert!(said.is_some_and(|said| said.contains("is being terminated")));
}

#[test]
fn a_missing_permission_names_verb_and_resource_and_is_tried_again() {
    let (server, bench, mut dispatcher) = ready_for("1");
    server.fault(Fault::once("POST jobs", Effect::forbidden("create", "jobs", "batch")));
    dispatcher.publish("e-1", "one");
    let line = dispatcher.until_logged("failed, to be tried again", "e-1");
    let reason = line["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("cannot create resource \"jobs\"") && reason.contains("Role needs"), "{reason}");
    let job = bench.until_job("one", None);
    bench.finish(&mut dispatcher, "e-1", &job);
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 403", "POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn a_job_that_an_admission_rule_refuses_is_a_dead_letter_with_its_words() {
    let (server, _bench, mut dispatcher) = ready();
    let words = "admission webhook \"policy.example\" denied the request: no latest tags";
    server.fault(Fault::once("POST jobs", Effect::status(403, "Forbidden", words, &Value::Null)));
    dispatcher.publish("e-1", "one");
    let line = dispatcher.until_dead_letter("e-1");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("no latest tags")), "{line}");
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 403"]);
}

#[test]
fn a_new_job_that_loses_its_labels_is_removed_and_a_dead_letter_says_why() {
    let (server, bench, mut dispatcher) = ready();
    server.fault(Fault::once("POST jobs", Effect::WithoutLabels));
    dispatcher.publish("e-1", "one");
    let line = dispatcher.until_dead_letter("e-1");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("took the labels")), "{line}");
    assert!(bench.job("one").is_none());
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 201", "DELETE jobs/thing-one 200"]);
}

#[test]
fn a_full_quota_of_jobs_has_the_class_of_a_full_quota_of_pods() {
    let words = "jobs.batch \"thing-one\" is forbidden: exceeded quota: q, requested: count/jobs.batch=1";
    let (server, bench, mut dispatcher) = ready();
    server.fault(Fault::once("POST jobs", Effect::status(403, "Forbidden", words, &Value::Null)));
    dispatcher.publish("e-1", "one");
    let line = dispatcher.until_logged("failed, to be tried again", "e-1");
    assert_eq!(line["cause"], "QuotaExceeded", "{line}");
    let job = bench.until_job("one", None);
    bench.finish(&mut dispatcher, "e-1", &job);
}

#[test]
fn a_job_that_fails_by_another_container_says_which_and_is_not_tried_again() {
    let (_server, bench, mut dispatcher) = ready();
    let job = bench.begin(&dispatcher, "e-1", "one");
    let status = serde_json::json!({"phase": "Failed",
        "initContainerStatuses": [{"name": "setup", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 65, "reason": "Error", "message": "no such tier"}}}],
        "containerStatuses": [{"name": "work", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "PodInitializing"}}}]});
    bench.hand.start_badly(&job, &status);
    bench.hand.fail(&job, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    let line = dispatcher.until_dead_letter("e-1");
    let reason = line["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("container setup: exit code 65: no such tier"), "{line}");
}

#[test]
fn a_watch_that_is_refused_while_lists_are_not_is_asked_for_ever_less_often_and_named_once() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    server.fault(Fault::times(usize::MAX, "WATCH jobs", Effect::forbidden("watch", "jobs", "batch")));
    let mut dispatcher = bench.start_through(&server.kubeconfig(&bench.scratch));
    server.until_called("WATCH jobs 403", 4);
    let said = dispatcher.running.process.output().matches("the Jobs cannot be watched").count();
    assert_eq!(said, 1, "{}", dispatcher.running.process.output());
    wait::until_true("the readiness says what is missing", || {
        http::get(dispatcher.port, "/readyz")
            .is_ok_and(|answer| answer.status == 503 && answer.body.contains("cannot watch resource"))
    });
    // Lists still work, so events are handled.
    bench.runs(&mut dispatcher, "e-1", "one");
    server.mend();
    wait::until_true("it is ready", || {
        http::get(dispatcher.port, "/readyz").is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_watch_whose_version_is_too_old_is_begun_anew_with_a_list() {
    let (server, bench, mut dispatcher) = ready();
    let job = bench.begin(&dispatcher, "e-1", "one");
    server.expire();
    server.until_called("LIST jobs", 2);
    bench.finish(&mut dispatcher, "e-1", &job);
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn a_watch_that_is_refused_because_its_version_is_too_old_is_begun_anew_with_a_list() {
    let (server, bench, mut dispatcher) = ready();
    let job = bench.begin(&dispatcher, "e-1", "one");
    server.until_called("WATCH jobs 200", 1);
    server.fault(Fault::once("WATCH jobs", Effect::expired()));
    server.cut_watches();
    server.until_called("LIST jobs", 2);
    bench.finish(&mut dispatcher, "e-1", &job);
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn what_happened_while_the_watch_was_cut_is_seen_after_it() {
    let (server, bench, mut dispatcher) = ready();
    let job = bench.begin(&dispatcher, "e-1", "one");
    server.until_called("WATCH jobs 200", 1);
    server.fault(Fault::once("WATCH jobs", Effect::status(503, "ServiceUnavailable", "busy", &Value::Null)));
    server.cut_watches();
    server.until_called("WATCH jobs 503", 1);
    bench.finish(&mut dispatcher, "e-1", &job);
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn a_watch_that_is_deaf_and_does_not_know_it_is_helped_by_a_list_now_and_then() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let mut dispatcher = bench.dispatcher_with(&["--kube-relist", "1"]);
    let job = bench.begin(&dispatcher, "e-1", "one");
    server.hide(true);
    bench.finish(&mut dispatcher, "e-1", &job);
    assert_eq!(without_looks(&server), ["POST jobs/thing-one 201", "LIST pods 200"]);
}

/// A list from before the Job was made does not contain it. Then the Job is requested, and exists.
fn without_looks(server: &ApiServer) -> Vec<String> {
    server.job_calls().into_iter().filter(|call| call != "GET jobs/thing-one 200").collect()
}

#[test]
fn a_job_removed_unheard_is_missed_in_the_next_list_and_run_again() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let mut dispatcher = bench.dispatcher_with(&["--kube-relist", "1"]);
    let job = bench.begin(&dispatcher, "e-1", "one");
    server.hide(true);
    bench.hand.remove_job(&job);
    server.hide(false);
    let again = bench.until_job("one", Some(&job));
    bench.finish(&mut dispatcher, "e-1", &again);
    assert_eq!(
        without_looks(&server),
        ["POST jobs/thing-one 201", "GET jobs/thing-one 404", "POST jobs/thing-one 201", "LIST pods 200"]
    );
}

#[test]
fn a_server_that_goes_away_and_comes_back_loses_nothing() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let proxy = Proxy::before(server.port());
    let through = kubeconfig(&bench.scratch, proxy.port());
    let mut dispatcher = bench.dispatcher_through(&through, &["--kube-relist", "2"]);
    let kept = bench.begin(&dispatcher, "e-1", "kept");
    proxy.set(Mode::Refuse);
    let ready = |port| http::get(port, "/readyz").map(|answer| answer.status).unwrap_or_default();
    wait::until_true("it says that it is not ready", || ready(dispatcher.port) == 503);
    dispatcher.publish("e-2", "late");
    bench.hand.play(&kept, &Ended::well(WELL));
    proxy.set(Mode::Pass);
    dispatcher.until_complete("e-1");
    let late = bench.until_job("late", None);
    bench.finish(&mut dispatcher, "e-2", &late);
    wait::until_true("it is ready again", || ready(dispatcher.port) == 200);
    let made: Vec<_> = server.job_calls().into_iter().filter(|call| call.starts_with("POST")).collect();
    assert_eq!(made, ["POST jobs/thing-kept 201", "POST jobs/thing-late 201"]);
}

#[test]
fn pods_that_may_not_be_read_only_cost_the_workers_words() {
    let (server, bench, mut dispatcher) = ready();
    server.fault(Fault::times(9, "LIST pods", Effect::forbidden("list", "pods", "")));
    bench.runs(&mut dispatcher, "e-1", "one");
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 201", "LIST pods 403"]);
}

#[test]
fn a_misspelt_field_that_only_the_server_knows_is_refused_strictly() {
    let (server, _bench, mut dispatcher) = ready();
    let words = "strict decoding error: unknown field \"spec.backofLimit\"";
    server.fault(Fault::once("POST jobs", Effect::status(400, "BadRequest", words, &Value::Null)));
    dispatcher.publish("e-1", "one");
    let line = dispatcher.until_dead_letter("e-1");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{line}");
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 400"]);
}

#[test]
fn a_stopped_dispatcher_hands_its_jobs_on_without_ending_them() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let first = bench.dispatcher();
    let job = bench.begin(&first, "e-1", "kept");
    let pod = bench.hand.start(&job);
    first.running.terminate().expect_code(0);
    let mut second = bench.dispatcher();
    server.until_called("GET jobs/thing-kept", 1);
    bench.hand.end(&job, &pod, &Ended::well(WELL));
    assert_eq!(second.until_complete("e-1")["adopted"], true);
    assert_eq!(
        server.job_calls(),
        ["POST jobs/thing-kept 201", "POST jobs/thing-kept 409", "GET jobs/thing-kept 200", "LIST pods 200"]
    );
}

#[test]
fn no_more_is_asked_of_the_server_than_the_options_allow() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let dispatcher = bench.dispatcher_with(&["--kube-qps", "2", "--kube-burst", "1"]);
    let since = Instant::now();
    for subject in ["a", "b", "c", "d", "e"] {
        dispatcher.publish(&format!("e-{subject}"), subject);
    }
    server.until_called("POST jobs", 5);
    // One at once, and the four others half a second apart.
    assert!(since.elapsed() >= Duration::from_secs(2), "{:?}", since.elapsed());
    drop(dispatcher);

    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let dispatcher = bench.dispatcher_with(&["--kube-qps", "1", "--kube-burst", "4"]);
    let since = Instant::now();
    for subject in ["a", "b", "c", "d", "e", "f"] {
        dispatcher.publish(&format!("e-{subject}"), subject);
    }
    server.until_called("POST jobs", 6);
    assert!(since.elapsed() >= Duration::from_secs(2), "four at once, two more later: {:?}", since.elapsed());
}

#[test]
fn a_stop_does_not_wait_for_a_server_that_cannot_remove_a_job_now() {
    let (server, _bench, dispatcher) = ready();
    server.until_called("WATCH jobs 200", 1);
    let away = Effect::status(503, "ServiceUnavailable", "busy", &Value::Null);
    server.fault(Fault::times(usize::MAX, "LIST jobs", away));
    dispatcher.publish_type("e-1", "one", "thing.removed");
    server.until_called("LIST jobs 503", 1);
    let since = Instant::now();
    dispatcher.running.terminate().expect_code(0);
    assert!(since.elapsed() < Duration::from_secs(10), "it waited {:?}", since.elapsed());
}

#[test]
fn calls_that_are_not_answered_are_said_by_the_readiness_while_the_watch_is_well() {
    let (server, bench, mut dispatcher) = ready();
    let away = Effect::status(503, "ServiceUnavailable", "busy", &Value::Null);
    server.fault(Fault::times(usize::MAX, "POST jobs", away));
    dispatcher.publish("e-1", "one");
    let ready =
        |port| http::get(port, "/readyz").map(|answer| (answer.status, answer.body)).unwrap_or_default();
    wait::until_true("it says that nobody answers", || {
        let (status, body) = ready(dispatcher.port);
        status == 503 && body.contains("does not answer")
    });
    server.mend();
    let job = bench.until_job("one", None);
    bench.finish(&mut dispatcher, "e-1", &job);
    assert_eq!(ready(dispatcher.port).0, 200);
}

/// A proxy's own answer tells nothing about a Job.
#[test]
fn what_is_no_answer_of_the_server_ends_no_event() {
    let proxy = |code| Effect::Answer { code, body: "<html>not now</html>".to_owned(), retry_after: None };
    // The reason may be this very object, so it counts as an attempt.
    let calls = ["POST jobs/thing-one 400", "POST jobs/thing-one 201", "LIST pods 200"];
    let said = creating_within("2", proxy(400), &calls);
    assert!(said.is_some_and(|said| said.contains("not now")));
}

/// If any call of the second event about a thing fails, neither that event nor its Job is lost.
fn nothing_is_lost_by(call: &str) {
    let busy = Effect::status(503, "ServiceUnavailable", "busy", &Value::Null);
    let forbidden = Effect::forbidden("touch", "jobs", "batch");
    for effect in [Effect::throttled(1), busy, Effect::Cut, forbidden, Effect::conflict()] {
        let (server, bench, mut dispatcher) = ready();
        let first = bench.runs(&mut dispatcher, "e-1", "one");
        server.fault(Fault::once(call, effect.clone()));
        dispatcher.publish("e-2", "one");
        let second = bench.until_job("one", Some(&first));
        bench.finish(&mut dispatcher, "e-2", &second);
        assert_eq!(server.faults_left(), 0, "{effect:?}");
        assert!(dispatcher.logged("dead letter", "e-2").is_none(), "{effect:?}");
    }
}

#[test]
fn no_answer_to_the_making_of_a_job_loses_its_event() {
    nothing_is_lost_by("POST jobs");
}

#[test]
fn no_answer_to_a_look_at_a_job_loses_its_event() {
    nothing_is_lost_by("GET jobs");
}

#[test]
fn no_answer_to_the_removal_of_a_job_loses_the_next_event() {
    nothing_is_lost_by("DELETE jobs");
}
