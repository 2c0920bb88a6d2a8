//! The whole flow in containers, from registrations of a foreign client to onboarded customers.

use tests::wait;

use crate::books::JOBS;
use crate::stack::{Container, Kind, LIMIT, Stack};

const CUSTOMERS: usize = 20;

#[test]
fn twenty_registrations_of_a_foreign_client_run_through_all_steps() {
    let stack = Stack::up(Kind::Single);
    stack.register(CUSTOMERS);
    stack.until_onboarded(CUSTOMERS);
    // A row is final before its Job has ended.
    wait::until(LIMIT, "every Job has ended", || {
        stack.jobs().iter().all(|job| !job.is_running()).then_some(())
    });
    let codes: Vec<_> = stack.jobs().iter().map(Container::exit_code).collect();
    assert_eq!(codes, [0; JOBS * CUSTOMERS]);
    stack.check_books(CUSTOMERS, "dispatcher");
    stack.end();
}

#[test]
fn a_stack_that_is_taken_down_in_mid_flow_leaves_nothing() {
    let stack = Stack::up(Kind::Single);
    stack.register(4);
    stack.until_handled(4);
    stack.end();
}
