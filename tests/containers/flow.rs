//! The whole flow in containers: a client that is not ours registers customers, and they are onboarded.

use tests::container::Container;
use tests::stack::books::JOBS;
use tests::stack::{Kind, LIMIT, Stack};
use tests::wait;

const CUSTOMERS: usize = 20;

#[test]
fn registrations_of_a_foreign_client_and_of_the_script_run_through_all_steps_and_a_stop_in_mid_flow_leaves_nothing()
 {
    let stack = Stack::up(Kind::Single);
    stack.register(CUSTOMERS);
    stack.until_onboarded(CUSTOMERS);
    let said = stack.publish(&[]);
    for port in ["DISPATCHER_PORT", "MAIL_PORT", "PARTNER_PORT"] {
        assert!(said.contains(&stack.page(port)), "{port}: {said}");
    }
    stack.until_onboarded(CUSTOMERS + 1);
    // A row is committed before its Job has ended.
    wait::until(LIMIT, "every Job has ended", || {
        stack.jobs().iter().all(|job| !job.is_running()).then_some(())
    });
    let codes: Vec<_> = stack.jobs().iter().map(Container::exit_code).collect();
    assert_eq!(codes, [0; JOBS * (CUSTOMERS + 1)]);
    stack.check_books(CUSTOMERS + 1, "dispatcher");
    stack.check_nothing_came_twice();

    let handled = stack.handled();
    stack.register(4);
    stack.until_handled(handled + 4);
    stack.end();
}
