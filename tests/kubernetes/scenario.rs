//! Scenarios for the stand-in and for a real cluster.

use serde_json::{Value, json};
use tests::kubernetes::{ApiServer, Effect, Ended, Fault};
use tests::program::Program;

use crate::bench::{Bench, WELL};

/// A Job is made, followed to its end, and its event acknowledged.
pub(crate) fn completes(bench: &Bench) {
    let mut dispatcher = bench.dispatcher();
    let job = bench.begin(&dispatcher, "e-1", "one");
    let line = bench.finish(&mut dispatcher, "e-1", &job);
    assert_eq!((line["job.name"].as_str(), line["adopted"].as_bool()), (Some("thing-one"), Some(false)));
}

/// Labels and annotations of a Job say which trigger and event it belongs to.
pub(crate) fn is_stamped(bench: &Bench) {
    let mut dispatcher = bench.dispatcher();
    let job = bench.begin(&dispatcher, "e-1", "one");
    let label = |name: &str| job["metadata"]["labels"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(label("app.kubernetes.io/managed-by"), "knapscen-dispatcher");
    assert_eq!(label("dispatcher.knapscen.disco/trigger"), "thing-made-trigger");
    assert_eq!(label("dispatcher.knapscen.disco/identity").len(), 32);
    assert_eq!(label("dispatcher.knapscen.disco/event").len(), 32);
    let annotation =
        |name: &str| job["metadata"]["annotations"][format!("dispatcher.knapscen.disco/{name}")].clone();
    for (name, value) in
        [("event-id", "e-1"), ("source", "tests"), ("subject", "one"), ("event-type", "thing.made")]
    {
        assert_eq!(annotation(name), value, "{name}");
    }
    assert_eq!(annotation("traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let managers = job["metadata"]["managedFields"].as_array().into_iter().flatten();
    assert!(managers.into_iter().any(|manager| manager["manager"] == "knapscen-dispatcher"), "{job}");
    bench.finish(&mut dispatcher, "e-1", &job);
}

/// A Job that fails for good becomes a dead letter with the worker's own message.
pub(crate) fn fails_for_good(bench: &Bench) {
    let mut dispatcher = bench.dispatcher();
    let job = bench.begin(&dispatcher, "e-1", "bad");
    let words = r#"{"step":"tests","outcome":"failed","exit_code":65,"error":{"class":"input","message":"no such tier"}}"#;
    bench.hand.play(&job, &Ended::badly(65, words, "PodFailurePolicy"));
    let line = dispatcher.until_dead_letter("e-1");
    assert_eq!(line["class"], "PodFailurePolicy");
    let reason = line["reason"].to_string();
    for part in ["PodFailurePolicy", "exit code 65", "no such tier"] {
        assert!(reason.contains(part), "{reason}");
    }
}

/// A Job past its deadline has no Pod any more; Kubernetes' Events tell what its Pod waited for.
pub(crate) fn fails_by_its_deadline(bench: &Bench) {
    let mut dispatcher = bench.dispatcher_with(&["--max-attempts", "1"]);
    let job = bench.begin(&dispatcher, "e-1", "late");
    bench.hand.tell(&job, "FailedCreate", "pods \"thing-late-\" is forbidden: no such class");
    bench.hand.fail(&job, "DeadlineExceeded", "Job was active longer than specified deadline");
    let line = dispatcher.until_dead_letter("e-1");
    assert_eq!(line["class"], "DeadlineExceeded", "{line}");
    let reason = line["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("longer than specified deadline") && reason.contains("no such class"),
        "{reason}"
    );
}

/// A Job that asks for another run gets one.
pub(crate) fn fails_and_is_run_again(bench: &Bench) {
    let mut dispatcher = bench.dispatcher();
    let job = bench.begin(&dispatcher, "e-1", "again");
    bench
        .hand
        .play(&job, &Ended::badly(75, r#"{"exit_code":75,"message":"no database"}"#, "BackoffLimitExceeded"));
    let line = dispatcher.until_logged("failed, to be tried again", "e-1");
    assert!(line["reason"].to_string().contains("no database"), "{line}");
    let second = bench.until_job("again", Some(&job));
    bench.finish(&mut dispatcher, "e-1", &second);
}

/// A killed dispatcher's Job is awaited by the next one, not started again.
pub(crate) fn is_adopted_after_a_crash(bench: &Bench) {
    let mut first = bench.dispatcher();
    let job = bench.begin(&first, "e-1", "kept");
    let pod = bench.hand.start(&job);
    first.running.kill();
    let mut second = bench.dispatcher();
    wait_for_lease(bench, &job, &pod, &mut second);
}

fn wait_for_lease(bench: &Bench, job: &Value, pod: &str, second: &mut crate::bench::Dispatcher) {
    bench.hand.end(job, pod, &Ended::well(WELL));
    let line = second.until_complete("e-1");
    assert_eq!(line["adopted"], true, "{line}");
    let same = bench.job("kept").expect("the Job");
    assert_eq!(same["metadata"]["uid"], job["metadata"]["uid"]);
}

/// `explain --server-dry-run` shows the Job as the server would store it, and nothing is stored.
pub(crate) fn is_explained(bench: &Bench) {
    let ended = explain(bench).run_to(0);
    // Only the server fills this in.
    assert!(ended.output.contains("podReplacementPolicy"), "{}", ended.output);
    assert_eq!(bench.hand.job_names(&bench.namespace), Vec::<String>::new());
}

fn explain(bench: &Bench) -> Program {
    let event =
        json!({"specversion": "1.0", "id": "e-1", "source": "tests", "type": "thing.made", "subject": "one"});
    let file = bench.scratch.write("event.json", &event.to_string());
    bench
        .on_cluster(Program::dispatcher().argument("explain").argument(file), None)
        .argument("--events")
        .argument(bench.scratch.join("events"))
        .argument("--subject")
        .argument("thing-made")
        .argument("--namespace")
        .argument(&bench.namespace)
        .argument("--server-dry-run")
}

/// A refusal is reported with the server's message.
fn is_explained_as_refused(bench: &Bench, server: &ApiServer) {
    let words = "admission webhook \"policy.example\" denied the request: no latest tags";
    server.fault(Fault::once("POST jobs", Effect::status(403, "Forbidden", words, &Value::Null)));
    let ended = explain(bench).run_to(65);
    assert!(ended.output.contains("no latest tags"), "{}", ended.output);
}

/// The Job still exists for an hour after its run.
fn is_explained_beside_the_job(bench: &Bench) {
    let mut dispatcher = bench.dispatcher();
    bench.runs(&mut dispatcher, "e-1", "one");
    drop(dispatcher);
    let ended = explain(bench).run_to(0);
    assert!(ended.output.contains("the server would take the Job"), "{}", ended.output);
    assert!(ended.output.contains("name: thing-one"), "{}", ended.output);
}

#[test]
fn a_dry_run_asks_the_server_and_keeps_nothing() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    is_explained(&bench);
    assert_eq!(server.calls(), ["POST jobs/thing-one 201"]);
    is_explained_beside_the_job(&bench);
    is_explained_as_refused(&bench, &server);
    server.fault(Fault::once("POST jobs", Effect::forbidden("create", "jobs", "batch")));
    let ended = explain(&bench).run_to(78);
    assert!(ended.output.contains("Role needs"), "{}", ended.output);
}

#[test]
fn a_job_is_created_once_and_followed_to_its_end() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    completes(&bench);
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 201", "LIST pods 200"]);
    let watches: Vec<_> = server.calls().into_iter().filter(|call| call.starts_with("WATCH")).collect();
    assert_eq!(watches.len(), 1, "{:?}", server.calls());
    let asked = server.queries("POST jobs");
    assert!(
        asked[0].contains("fieldValidation=Strict") && asked[0].contains("fieldManager=knapscen-dispatcher"),
        "{asked:?}"
    );
    let follows = server.queries("WATCH jobs");
    assert!(
        follows[0].contains("labelSelector=") && follows[0].contains("allowWatchBookmarks=true"),
        "{follows:?}"
    );
}

#[test]
fn a_job_is_stamped_with_hashes_and_true_values() {
    let server = ApiServer::start();
    is_stamped(&Bench::on(&server));
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn a_job_that_fails_for_good_is_a_dead_letter_with_the_workers_words() {
    let server = ApiServer::start();
    fails_for_good(&Bench::on(&server));
    assert_eq!(server.job_calls(), ["POST jobs/thing-bad 201", "LIST pods 200"]);
}

#[test]
fn a_job_past_its_deadline_says_what_its_pods_waited_for() {
    let server = ApiServer::start();
    fails_by_its_deadline(&Bench::on(&server));
    assert_eq!(server.job_calls(), ["POST jobs/thing-late 201", "LIST pods 200", "LIST events 200"]);
}

#[test]
fn a_job_that_asks_for_another_run_is_replaced_and_run_again() {
    let server = ApiServer::start();
    fails_and_is_run_again(&Bench::on(&server));
    assert_eq!(
        server.job_calls(),
        [
            "POST jobs/thing-again 201",
            "LIST pods 200",
            "POST jobs/thing-again 409",
            "GET jobs/thing-again 200",
            "LIST pods 200",
            "DELETE jobs/thing-again 200",
            "POST jobs/thing-again 201",
            "LIST pods 200",
        ]
    );
}

#[test]
fn a_job_of_a_killed_dispatcher_is_adopted() {
    let server = ApiServer::start();
    is_adopted_after_a_crash(&Bench::on(&server));
    assert_eq!(
        server.job_calls(),
        ["POST jobs/thing-kept 201", "POST jobs/thing-kept 409", "GET jobs/thing-kept 200", "LIST pods 200"]
    );
}
