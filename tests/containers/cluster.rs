//! Two dispatchers on three NATS servers: one of each may die.

use crate::books::JOBS;
use crate::stack::{Kind, Stack};

const CUSTOMERS: usize = 8;

#[test]
fn a_cluster_that_loses_a_nats_server_and_a_dispatcher_loses_no_customer() {
    let stack = Stack::up(Kind::Cluster);
    stack.register(CUSTOMERS);
    // The first of the list: every client has to find another.
    stack.until_handled(CUSTOMERS);
    stack.kill("nats");
    stack.until_handled(3 * CUSTOMERS);
    stack.kill("dispatcher");
    assert!(stack.handled() < JOBS * CUSTOMERS, "the flow was over before the fault");
    // Neither comes back: what is left does the work.
    stack.until_onboarded(CUSTOMERS);
    stack.check_books(CUSTOMERS, "dispatcher-2");
    stack.end();
}
