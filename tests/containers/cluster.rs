//! Two dispatchers and three NATS servers, of which one each may die.

use serde_json::Value;
use tests::stack::books::JOBS;
use tests::stack::{Kind, LIMIT, Stack};
use tests::wait;

const CUSTOMERS: usize = 8;

#[test]
fn a_cluster_that_loses_a_nats_server_and_a_dispatcher_loses_no_customer() {
    let stack = Stack::up(Kind::Cluster);
    check_replicas(&stack);
    stack.register(CUSTOMERS);
    // It is the first in the list, so every client has to find another one.
    stack.until_handled(CUSTOMERS);
    stack.kill("nats");
    stack.until_handled(3 * CUSTOMERS);
    stack.kill("dispatcher");
    assert!(stack.handled() < JOBS * CUSTOMERS, "the flow was over before the fault");
    // Neither comes back. The others do the work, and the script finds them.
    let said = stack.publish(&["--via", "compose"]);
    assert!(said.contains(&stack.page("DISPATCHER_2_PORT")), "{said}");
    stack.until_onboarded(CUSTOMERS + 1);
    stack.check_books(CUSTOMERS + 1, "dispatcher-2");
    stack.end();
}

/// Every stream and consumer is on all three servers: each has a leader with two peers.
fn check_replicas(stack: &Stack) {
    let address = "http://127.0.0.1:8222/jsz?streams=true&consumers=true&config=true";
    wait::until(LIMIT, "streams and consumers have leaders with two peers each", || {
        let seen = stack.exec("nats", &["wget", "-q", "-O", "-", address]);
        let seen: Value = serde_json::from_str(&seen).expect("JSON");
        let streams: Vec<_> =
            list(&seen, "account_details").flat_map(|account| list(account, "stream_detail")).collect();
        let consumers = || streams.iter().flat_map(|stream| list(stream, "consumer_detail"));
        for stream in &streams {
            assert_eq!(stream["config"]["num_replicas"], 3, "{stream}");
        }
        // The events' stream and that of the dead letters; a consumer for each step.
        let is_complete = streams.len() >= 2 && consumers().count() >= 7;
        (is_complete && streams.iter().copied().chain(consumers()).all(has_two_peers)).then_some(())
    });
}

fn has_two_peers(one: &Value) -> bool {
    one["cluster"]["leader"].is_string() && list(&one["cluster"], "replicas").count() == 2
}

fn list<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of[name].as_array().into_iter().flatten()
}
