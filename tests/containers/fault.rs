//! Containers that are killed during the flow: nothing is lost, doubled or left.

use std::time::Duration;

use tests::container::Container;
use tests::engine::docker;
use tests::stack::books::JOBS;
use tests::stack::{Kind, LIMIT, Stack};
use tests::wait;

const CUSTOMERS: usize = 20;

/// A fault comes each time after this many more events.
const STRIDE: usize = 25;

#[test]
fn whatever_is_killed_or_cut_off_in_mid_flow_nothing_is_lost_or_doubled() {
    let stack = Stack::up(Kind::Single);
    stack.register(CUSTOMERS);
    let faults: [fn(&Stack); 5] = [kill_dispatcher, kill_a_worker, kill_nats, kill_database, isolate_nats];
    for (number, fault) in faults.iter().enumerate() {
        stack.until_handled(STRIDE * (number + 1));
        let handled = stack.handled();
        assert!(handled < JOBS * CUSTOMERS, "the flow was over before fault {number}");
        eprintln!("{handled} events are handled: fault {number}");
        fault(&stack);
    }
    stack.until_onboarded(CUSTOMERS);
    stack.check_books(CUSTOMERS, "dispatcher");
    // All failures came from outside: no worker reports a wrong event, wrong settings or a bug.
    let codes: Vec<_> = stack.jobs().iter().map(Container::exit_code).collect();
    assert!(codes.iter().all(|code| ![65, 70, 78].contains(code)), "{codes:?}");
    stack.end();
}

fn kill_dispatcher(stack: &Stack) {
    let job = held_job(stack);
    stack.kill("dispatcher");
    // Its Job continues without it.
    stack.resume("database");
    wait::until(LIMIT, "the Job has ended", || (!runs(stack, &job)).then_some(()));
    stack.start("dispatcher");
    wait::until(LIMIT, "the dispatcher is ready again", || stack.is_ready().then_some(()));
}

fn kill_a_worker(stack: &Stack) {
    let job = held_job(stack);
    docker(&["kill", "--signal", "KILL", &job]);
    stack.resume("database");
}

fn kill_nats(stack: &Stack) {
    stack.kill("nats");
    wait::until(LIMIT, "the dispatcher misses NATS", || (!stack.is_ready()).then_some(()));
    stack.start("nats");
    wait::until(LIMIT, "the dispatcher is ready again", || stack.is_ready().then_some(()));
}

fn kill_database(stack: &Stack) {
    stack.kill("database");
    wait::until(LIMIT, "a Job asks to be tried again", || {
        stack.jobs().iter().any(|job| !job.is_running() && job.exit_code() == 75).then_some(())
    });
    stack.start("database");
    wait::until(LIMIT, "the database is well again", || stack.is_healthy("database").then_some(()));
}

fn isolate_nats(stack: &Stack) {
    stack.isolate("nats");
    wait::until(LIMIT, "the dispatcher misses NATS", || (!stack.is_ready()).then_some(()));
    stack.rejoin("nats");
    wait::until(LIMIT, "the dispatcher is ready again", || stack.is_ready().then_some(()));
}

/// A Job in the middle of its step, because the database is frozen.
fn held_job(stack: &Stack) -> String {
    wait::until(LIMIT, "a Job stands in its step", || {
        stack.pause("database");
        // Those whose database has already answered end by themselves.
        let held = wait::within(Duration::from_secs(20), || {
            let first = stack.running_jobs().first()?.id().to_owned();
            wait::within(Duration::from_secs(2), || (!runs(stack, &first)).then_some(()))
                .is_none()
                .then_some(first)
        });
        if held.is_none() {
            stack.resume("database");
        }
        held
    })
}

fn runs(stack: &Stack, id: &str) -> bool {
    stack.running_jobs().iter().any(|job| job.id() == id)
}
