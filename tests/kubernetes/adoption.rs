//! A Job with the same name already exists.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::kubernetes::{ApiServer, Effect, Ended, Fault};

use crate::bench::{Bench, WELL};

/// Another event's ended Job is replaced, and its Pods are removed with it.
pub(crate) fn ended_of_another_event(bench: &Bench) {
    let mut dispatcher = bench.dispatcher();
    let first = bench.runs(&mut dispatcher, "e-1", "one");
    dispatcher.publish("e-2", "one");
    let second = bench.until_job("one", Some(&first));
    bench.finish(&mut dispatcher, "e-2", &second);
}

/// Another event's running Job is awaited, and then replaced.
pub(crate) fn running_of_another_event(bench: &Bench) {
    let mut dispatcher = bench.dispatcher();
    let first = bench.begin(&dispatcher, "e-1", "one");
    let pod = bench.hand.start(&first);
    dispatcher.publish("e-2", "one");
    dispatcher.publish("e-3", "other");
    // The other Job is not delayed.
    let other = bench.until_job("other", None);
    bench.finish(&mut dispatcher, "e-3", &other);
    assert_eq!(bench.job("one").expect("the Job")["metadata"]["uid"], first["metadata"]["uid"]);
    bench.hand.end(&first, &pod, &Ended::well(WELL));
    dispatcher.until_complete("e-1");
    let second = bench.until_job("one", Some(&first));
    bench.finish(&mut dispatcher, "e-2", &second);
}

/// A Job of somebody else is never touched.
pub(crate) fn of_somebody_else(bench: &Bench) {
    let foreign = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "thing-theirs", "namespace": bench.namespace},
        "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "work", "image": "knapscen/none:latest"}]}}},
    });
    let path = format!("/apis/batch/v1/namespaces/{}/jobs", bench.namespace);
    let made = bench.hand.call(&axum::http::Method::POST, &path, &foreign).expect("a Job");
    let mut dispatcher = bench.dispatcher();
    dispatcher.publish("e-1", "theirs");
    let line = dispatcher.until_dead_letter("e-1");
    assert!(line["reason"].to_string().contains("no dispatcher made"), "{line}");
    assert_eq!(line["class"], "NameTaken", "{line}");
    assert_eq!(bench.job("theirs").expect("their Job")["metadata"]["uid"], made["metadata"]["uid"]);
}

/// With `syncMode: OneTime`, the work counts as done for a later event.
pub(crate) fn once_is_enough(bench: &Bench) {
    bench.write_rule("OneTime", "");
    let mut dispatcher = bench.dispatcher();
    let first = bench.runs(&mut dispatcher, "e-1", "one");
    dispatcher.publish("e-2", "one");
    let line = dispatcher.until_complete("e-2");
    assert_eq!(line["adopted"], true);
    assert_eq!(bench.job("one").expect("the Job")["metadata"]["uid"], first["metadata"]["uid"]);
}

/// A Job that ended and was removed while no dispatcher ran is run again, because its end was not seen.
pub(crate) fn gone_unseen(bench: &Bench, ended: &Ended) {
    let mut first = bench.dispatcher();
    let job = bench.begin(&first, "e-1", "gone");
    first.running.kill();
    bench.hand.play(&job, ended);
    bench.hand.remove_job(&job);
    let mut second = bench.dispatcher();
    let again = bench.until_job("gone", Some(&job));
    let line = bench.finish(&mut second, "e-1", &again);
    assert_eq!(line["adopted"], false);
}

/// A Job whose end was seen and whose event was acknowledged may be removed: it never comes back.
pub(crate) fn gone_after_its_end(bench: &Bench) {
    let mut first = bench.dispatcher();
    let job = bench.runs(&mut first, "e-1", "one");
    bench.hand.remove_job(&job);
    bench.runs(&mut first, "e-2", "two");
    first.running.terminate().expect_code(0);
    let mut second = bench.dispatcher();
    bench.runs(&mut second, "e-3", "three");
    assert!(bench.job("one").is_none());
}

/// A Job that failed while no dispatcher ran still becomes a dead letter.
pub(crate) fn failed_unseen(bench: &Bench) {
    let mut first = bench.dispatcher();
    let job = bench.begin(&first, "e-1", "bad");
    first.running.kill();
    bench.hand.play(&job, &Ended::badly(65, "bad tier", "PodFailurePolicy"));
    let mut second = bench.dispatcher();
    let line = second.until_dead_letter("e-1");
    assert!(line["reason"].to_string().contains("bad tier"), "{line}");
}

/// Removing a running Job does not lose its event.
pub(crate) fn removed_while_it_runs(bench: &Bench) {
    let mut dispatcher = bench.dispatcher();
    let job = bench.begin(&dispatcher, "e-1", "one");
    bench.hand.start(&job);
    bench.hand.remove_job(&job);
    let again = bench.until_job("one", Some(&job));
    bench.finish(&mut dispatcher, "e-1", &again);
}

/// A `Delete` event removes the Job of the same trigger, source and subject, and its Pods.
pub(crate) fn deleted_by_an_event(bench: &Bench) {
    let mut dispatcher = bench.dispatcher();
    bench.runs(&mut dispatcher, "e-1", "one");
    dispatcher.publish_type("e-2", "one", "thing.removed");
    tests::wait::until_true("the Job is gone", || bench.job("one").is_none());
}

/// A Job that is not rendered any more is removed, but not before its follower has read what its Pods reported.
pub(crate) fn not_rendered_any_more(bench: &Bench) {
    let by_type = r#"'thing-{{ .CloudEvent.subject }}{{ if eq .CloudEvent.type "thing.other" }}-b{{ end }}'"#;
    let rule = fs::read_to_string(bench.scratch.join("events/rule.yaml")).expect("the rule");
    bench.scratch.write("events/rule.yaml", &rule.replace("'thing-{{ .CloudEvent.subject }}'", by_type));
    let mut dispatcher = bench.dispatcher();
    let first = bench.begin(&dispatcher, "e-1", "one");
    dispatcher.publish_type("e-2", "one", "thing.other");
    let second = bench.until_job("one-b", None);
    let ended_at = Instant::now();
    bench.hand.play(&first, &Ended::badly(65, "bad tier", "PodFailurePolicy"));
    bench.finish(&mut dispatcher, "e-2", &second);
    tests::wait::until_true("the Job is gone", || bench.job("one").is_none());
    // Its end is reported with a precision of a second.
    assert!(ended_at.elapsed() > Duration::from_millis(900), "{:?}", ended_at.elapsed());
    let line = dispatcher.until_dead_letter("e-1");
    assert!(line["reason"].to_string().contains("bad tier"), "{line}");
    assert!(bench.job("one-b").is_some());
}

/// A `Delete` event removes a running Job for good, whichever dispatcher follows it: the event that made it is given
/// up, not run again.
pub(crate) fn deleted_while_it_runs(bench: &Bench) {
    let (mut one, mut other) = (bench.dispatcher(), bench.dispatcher_apart(&[]));
    let job = bench.begin(&one, "e-1", "one");
    bench.hand.start(&job);
    other.publish_type("e-2", "one", "thing.removed");
    let line = one.until_dead_letter("e-1");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("Delete event")), "{line}");
    assert_eq!(other.until_logged("deleted", "e-2")["trigger"], "thing-made-trigger");
    assert!(bench.job("one").is_none());
}

/// A dispatcher that gets the event of a withdrawn Job gives it up, because the Job's follower may have ended too
/// early.
pub(crate) fn taken_back_and_left(bench: &Bench) {
    let mut first = bench.dispatcher();
    let job = bench.begin(&first, "e-1", "one");
    bench.hand.start(&job);
    first.running.kill();
    bench.hand.label(&job, "dispatcher.knapscen.disco/deleted", "true");
    let mut second = bench.dispatcher();
    let line = second.until_dead_letter("e-1");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("Delete event")), "{line}");
}

#[test]
fn a_delete_event_ends_a_running_job_for_good_whichever_dispatcher_follows_it() {
    let server = ApiServer::start();
    deleted_while_it_runs(&Bench::on(&server));
    assert_eq!(
        server.job_calls(),
        ["POST jobs/thing-one 201", "PATCH jobs/thing-one 200", "DELETE jobs/thing-one 200"]
    );
}

#[test]
fn a_job_that_is_not_rendered_any_more_goes_when_its_end_has_been_read() {
    let server = ApiServer::start();
    not_rendered_any_more(&Bench::on(&server));
    let mut calls = server.job_calls();
    assert_eq!(calls.pop().as_deref(), Some("DELETE jobs/thing-one 200"));
    assert_eq!(
        calls,
        ["POST jobs/thing-one 201", "POST jobs/thing-one-b 201", "LIST pods 200", "LIST pods 200"]
    );
}

#[test]
fn a_job_that_was_taken_back_and_left_is_not_awaited() {
    let server = ApiServer::start();
    taken_back_and_left(&Bench::on(&server));
    assert_eq!(
        server.job_calls(),
        ["POST jobs/thing-one 201", "POST jobs/thing-one 409", "GET jobs/thing-one 200"]
    );
}

#[test]
fn a_job_that_changes_while_it_is_taken_back_is_looked_at_again() {
    let server = ApiServer::start();
    server.fault(Fault::once("PATCH jobs", Effect::conflict()));
    deleted_while_it_runs(&Bench::on(&server));
    assert_eq!(
        server.job_calls(),
        [
            "POST jobs/thing-one 201",
            "PATCH jobs/thing-one 409",
            "GET jobs/thing-one 200",
            "PATCH jobs/thing-one 200",
            "DELETE jobs/thing-one 200"
        ]
    );
}

#[test]
fn an_ended_job_of_another_event_is_replaced_in_the_background() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    ended_of_another_event(&bench);
    assert_eq!(
        server.job_calls(),
        [
            "POST jobs/thing-one 201",
            "LIST pods 200",
            "POST jobs/thing-one 409",
            "GET jobs/thing-one 200",
            "DELETE jobs/thing-one 200",
            "POST jobs/thing-one 201",
            "LIST pods 200",
        ]
    );
    assert_eq!(server.objects("pods").len(), 1, "the first Job's Pod is not orphaned");
}

#[test]
fn a_running_job_of_another_event_is_waited_for() {
    let server = ApiServer::start();
    running_of_another_event(&Bench::on(&server));
    let of_one: Vec<_> = server.job_calls().into_iter().filter(|call| call.contains("thing-one")).collect();
    assert_eq!(of_one.first().map(String::as_str), Some("POST jobs/thing-one 201"));
    assert_eq!(of_one.last().map(String::as_str), Some("POST jobs/thing-one 201"));
    assert_eq!(of_one.iter().filter(|call| call.starts_with("DELETE")).count(), 1, "{of_one:?}");
}

#[test]
fn a_job_that_no_dispatcher_made_is_left_alone_and_the_event_says_so() {
    let server = ApiServer::start();
    of_somebody_else(&Bench::on(&server));
    assert_eq!(server.job_calls(), ["POST jobs/thing-theirs 409", "GET jobs/thing-theirs 200"]);
}

#[test]
fn with_one_time_a_later_event_finds_the_work_done() {
    let server = ApiServer::start();
    once_is_enough(&Bench::on(&server));
    assert_eq!(
        server.job_calls(),
        ["POST jobs/thing-one 201", "LIST pods 200", "POST jobs/thing-one 409", "GET jobs/thing-one 200"]
    );
}

#[test]
fn a_job_that_ended_and_was_removed_unseen_is_run_again() {
    let server = ApiServer::start();
    gone_unseen(&Bench::on(&server), &Ended::well(WELL));
    assert_eq!(server.job_calls(), ["POST jobs/thing-gone 201", "POST jobs/thing-gone 201", "LIST pods 200"]);
}

#[test]
fn a_job_that_failed_and_was_removed_unseen_is_run_again() {
    let server = ApiServer::start();
    gone_unseen(&Bench::on(&server), &Ended::badly(65, "bad tier", "PodFailurePolicy"));
    assert_eq!(server.job_calls(), ["POST jobs/thing-gone 201", "POST jobs/thing-gone 201", "LIST pods 200"]);
}

#[test]
fn a_job_that_goes_after_its_event_was_acknowledged_is_never_brought_back() {
    let server = ApiServer::start();
    gone_after_its_end(&Bench::on(&server));
    let calls = server.job_calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("POST jobs/thing-one")).count(), 1, "{calls:?}");
}

#[test]
fn a_job_that_failed_unseen_is_a_dead_letter() {
    let server = ApiServer::start();
    failed_unseen(&Bench::on(&server));
    assert_eq!(
        server.job_calls(),
        ["POST jobs/thing-bad 201", "POST jobs/thing-bad 409", "GET jobs/thing-bad 200", "LIST pods 200"]
    );
}

#[test]
fn a_job_removed_while_it_runs_is_run_again() {
    let server = ApiServer::start();
    removed_while_it_runs(&Bench::on(&server));
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 201", "POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn a_delete_event_removes_the_job_and_its_pods() {
    let server = ApiServer::start();
    deleted_by_an_event(&Bench::on(&server));
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 201", "LIST pods 200", "DELETE jobs/thing-one 200"]);
    assert!(server.objects("pods").is_empty(), "no orphaned Pods");
}
