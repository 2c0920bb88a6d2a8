//! Two dispatchers on three NATS servers: one of each may die.

use serde_json::Value;

use crate::books::JOBS;
use crate::stack::{Kind, Stack};

const CUSTOMERS: usize = 8;

#[test]
fn a_cluster_that_loses_a_nats_server_and_a_dispatcher_loses_no_customer() {
    let stack = Stack::up(Kind::Cluster);
    check_replicas(&stack);
    stack.register(CUSTOMERS);
    // The first of the list: every client has to find another.
    stack.until_handled(CUSTOMERS);
    stack.kill("nats");
    stack.until_handled(3 * CUSTOMERS);
    stack.kill("dispatcher");
    assert!(stack.handled() < JOBS * CUSTOMERS, "the flow was over before the fault");
    // Neither comes back: what is left does the work, and the script finds it.
    let said = stack.publish(&["--via", "compose"]);
    assert!(said.contains(&stack.page("DISPATCHER_2_PORT")), "{said}");
    stack.until_onboarded(CUSTOMERS + 1);
    stack.check_books(CUSTOMERS + 1, "dispatcher-2");
    stack.end();
}

/// Every stream and consumer is on all three servers: the leader has two peers.
fn check_replicas(stack: &Stack) {
    let address = "http://127.0.0.1:8222/jsz?streams=true&consumers=true&config=true";
    let seen = stack.exec("nats", &["wget", "-q", "-O", "-", address]);
    let seen: Value = serde_json::from_str(&seen).expect("JSON");
    let list = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
    let peers = |one: &Value| list(&one["cluster"], "replicas").len();
    let streams: Vec<_> =
        list(&seen, "account_details").iter().flat_map(|account| list(account, "stream_detail")).collect();
    let named = |name: &str| streams.iter().find(|stream| stream["name"] == name);
    let events = named("customer-onboarding").unwrap_or_else(|| panic!("no stream of events: {seen}"));
    let consumers = list(events, "consumer_detail");
    assert!(!consumers.is_empty(), "{events}");
    assert!(streams.len() >= 2, "no stream of dead letters: {seen}");
    for stream in &streams {
        assert_eq!((&stream["config"]["num_replicas"], peers(stream)), (&3.into(), 2), "{stream}");
        for consumer in list(stream, "consumer_detail") {
            assert_eq!(peers(&consumer), 2, "{consumer}");
        }
    }
}
