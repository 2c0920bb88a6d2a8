//! How a dispatcher starts if the cluster is not ready for it, and what it shows of its Jobs.

use tests::http;
use tests::kubernetes::{ApiServer, Effect, Ended, Fault, kubeconfig};
use tests::proxy::{Mode, Proxy};
use tests::wait;

use crate::bench::{Bench, Dispatcher, WELL};

const TOKEN: &str = "operators-only";

fn ready(dispatcher: &Dispatcher) -> (u16, String) {
    http::get(dispatcher.port, "/readyz").map(|answer| (answer.status, answer.body)).unwrap_or_default()
}

#[test]
fn a_dispatcher_started_while_the_server_is_away_waits_for_it() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let proxy = Proxy::before(server.port());
    proxy.set(Mode::Refuse);
    let through = kubeconfig(&bench.scratch, proxy.port());
    let mut dispatcher = bench.start_through(&through);
    wait::until_true("it says that it is not ready", || ready(&dispatcher).0 == 503);
    dispatcher.publish("e-1", "one");
    proxy.set(Mode::Pass);
    let job = bench.until_job("one", None);
    bench.finish(&mut dispatcher, "e-1", &job);
    wait::until_true("it is ready", || ready(&dispatcher).0 == 200);
    assert_eq!(server.job_calls(), ["POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn a_role_without_list_is_named_by_the_readiness_until_it_is_given() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    server.fault(Fault::times(usize::MAX, "LIST jobs", Effect::forbidden("list", "jobs", "batch")));
    let through = server.kubeconfig(&bench.scratch);
    let dispatcher = bench.start_through(&through);
    wait::until_true("it says what is missing", || {
        let (status, body) = ready(&dispatcher);
        status == 503 && body.contains("cannot list resource \"jobs\"") && body.contains("Role")
    });
    server.mend();
    wait::until_true("it is ready", || ready(&dispatcher).0 == 200);
    server.until_called("WATCH jobs", 1);
    let mut calls = server.calls();
    calls.dedup();
    assert_eq!(calls, ["LIST jobs 403", "LIST jobs 200", "WATCH jobs 200"]);
}

#[test]
fn a_missing_namespace_is_reported_and_the_event_waits_for_it() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let mut dispatcher = bench.dispatcher();
    bench.hand.remove_namespace(&bench.namespace);
    dispatcher.publish("e-1", "one");
    let line = dispatcher.until_logged("failed, to be tried again", "e-1");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("namespaces")), "{line}");
    bench.hand.make_namespace(&bench.namespace);
    let job = bench.until_job("one", None);
    bench.finish(&mut dispatcher, "e-1", &job);
    let mut calls = server.job_calls();
    calls.dedup();
    assert_eq!(calls, ["POST jobs/thing-one 404", "POST jobs/thing-one 201", "LIST pods 200"]);
}

#[test]
fn without_a_cluster_the_start_says_how_to_name_one() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let nowhere = bench.scratch.join("nowhere");
    let ended = bench.start_through(&nowhere).running.wait();
    ended.expect_code(78);
    assert!(ended.output.contains("nowhere"), "{}", ended.output);
    assert!(server.calls().is_empty(), "{:?}", server.calls());
}

#[test]
fn a_role_without_create_is_named_by_the_readiness_until_it_is_given() {
    is_named_by_the_readiness(
        &Effect::forbidden("create", "jobs", "batch"),
        &["cannot create resource \"jobs\"", "Role needs"],
    );
}

#[test]
fn a_token_that_is_refused_is_named_by_the_readiness() {
    let refused = Effect::status(401, "Unauthorized", "Unauthorized", &serde_json::Value::Null);
    is_named_by_the_readiness(&refused, &["does not take the token"]);
}

/// Before any event, the readiness says that no Job could be made, and why, until one can be made.
fn is_named_by_the_readiness(effect: &Effect, words: &[&str]) {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    server.fault(Fault::times(usize::MAX, "PROBE jobs", effect.clone()));
    let through = server.kubeconfig(&bench.scratch);
    let dispatcher = bench.start_through(&through);
    wait::until_true("it says what is missing", || {
        let (status, body) = ready(&dispatcher);
        status == 503 && words.iter().all(|word| body.contains(word))
    });
    let metrics = http::get(dispatcher.port, "/metrics").expect("metrics").body;
    assert!(metrics.contains("dispatcher_backend_up 0"), "{metrics}");
    server.mend();
    wait::until_true("it is ready", || ready(&dispatcher).0 == 200);
    assert!(server.job_calls().is_empty(), "{:?}", server.job_calls());
    assert_eq!(server.count("jobs"), 0);
}

#[test]
fn a_namespace_that_is_missing_at_the_start_is_named_by_the_readiness() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    bench.hand.remove_namespace(&bench.namespace);
    let dispatcher = bench.start_through(&server.kubeconfig(&bench.scratch));
    wait::until_true("it says what is missing", || {
        let (status, body) = ready(&dispatcher);
        status == 503 && body.contains("namespaces") && body.contains("not found")
    });
    bench.hand.make_namespace(&bench.namespace);
    wait::until_true("it is ready", || ready(&dispatcher).0 == 200);
}

#[test]
fn every_call_names_the_program_and_its_version() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let mut dispatcher = bench.dispatcher();
    bench.runs(&mut dispatcher, "e-1", "one");
    let agents: Vec<_> = server.agents().into_iter().collect();
    assert_eq!(agents, [format!("knapscen-dispatcher/{}", env!("CARGO_PKG_VERSION"))]);
}

const A_SECOND_CONTAINER: &str = "            - name: other\n              image: knapscen/none:latest";

#[test]
fn of_several_containers_the_workers_output_is_shown() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    bench.write_rule_with("Continuous", "", A_SECOND_CONTAINER);
    output_is_shown(&server, &bench);
    assert!(server.queries("GET pods/")[0].contains("container=work"), "{:?}", server.queries("GET pods/"));
}

/// The page shows the last output of the Job's Pod.
pub(crate) fn output_is_shown(server: &ApiServer, bench: &Bench) {
    let mut dispatcher = bench.dispatcher_as_operator(TOKEN);
    bench.runs(&mut dispatcher, "e-1", "one");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let entry = format!("name=Ann&token={TOKEN}&next=/");
    let login = http::request(wait::LIMIT, dispatcher.port, "POST", "/login", &form, entry.as_bytes());
    let login = login.expect("an answer");
    let cookie =
        login.headers.get("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a session");
    let get = |path: &str| {
        let answer = http::request(wait::LIMIT, dispatcher.port, "GET", path, &[("Cookie", cookie)], b"");
        answer.expect("an answer").body
    };
    let logs = wait::until(wait::LIMIT, "the page knows the run", || {
        let page = get("/customers/one");
        page.split('"').find(|part| part.starts_with("/runs/")).map(str::to_owned)
    });
    let page = get(&logs);
    assert!(page.contains("last line"), "{page}");
    let read =
        server.calls().into_iter().filter(|call| call.starts_with("GET pods/") && call.ends_with("/log 200"));
    assert_eq!(read.count(), 1, "{:?}", server.calls());
}

#[test]
fn operators_read_a_pods_output_on_the_page() {
    let server = ApiServer::start();
    output_is_shown(&server, &Bench::on(&server));
    let calls = server.job_calls();
    assert_eq!(calls[..3], ["POST jobs/thing-one 201", "LIST pods 200", "LIST pods 200"]);
    assert!(calls[3].starts_with("GET pods/thing-one-") && calls.len() == 4, "{calls:?}");
}

#[test]
fn two_dispatchers_that_get_the_same_event_at_once_share_one_job() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let (mut one, mut two) = (bench.dispatcher(), bench.dispatcher_apart(&[]));
    one.publish("e-1", "one");
    let job = bench.begin(&two, "e-1", "one");
    server.until_called("GET jobs/thing-one 200", 1);
    bench.hand.play(&job, &Ended::well(WELL));
    let adopted = [&mut one, &mut two].map(|dispatcher| dispatcher.until_complete("e-1")["adopted"] == true);
    assert_ne!(adopted[0], adopted[1], "one made it, the other found it");
    let mut calls = server.job_calls();
    calls.sort();
    assert_eq!(
        calls,
        [
            "GET jobs/thing-one 200",
            "LIST pods 200",
            "LIST pods 200",
            "POST jobs/thing-one 201",
            "POST jobs/thing-one 409",
        ]
    );
}
