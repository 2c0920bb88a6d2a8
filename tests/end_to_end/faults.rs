//! Servers and dispatchers that die during the flow: nothing is lost or doubled.

use tests::mariadb::MariaDb;
use tests::{vendor, wait};

use crate::system::{LIMIT, System, registration};

const CUSTOMERS: usize = 6;

fn publish_all(system: &System) {
    for number in 0..CUSTOMERS {
        system.publish(&registration(&format!("Company {number}")));
    }
}

#[test]
fn a_dispatcher_killed_with_jobs_running_loses_and_doubles_nothing() {
    let system = System::start();
    let mut dispatcher = system.dispatcher();
    system.vendor.set(vendor::Mode::AcceptThenWait);
    publish_all(&system);
    // Jobs are in the middle of their step. The dispatcher dies, and they continue.
    system.vendor.until_requests(2);
    dispatcher.running.kill();
    let left = dispatcher.running.directory().processes();
    assert!(left.iter().filter(|(_, name)| name == "notify-marketing").count() >= 2, "{left:?}");
    let _next = system.dispatcher();
    system.vendor.set(vendor::Mode::Ok);
    system.until_onboarded(CUSTOMERS);
    system.check_books(CUSTOMERS);
    // The running Jobs were awaited and not started again, so nobody was asked twice.
    let asked = system.vendor.requests().iter().filter(|request| request.path == "/marketing").count();
    assert_eq!(asked, CUSTOMERS);
}

#[test]
fn a_job_left_running_by_a_killed_dispatcher_is_awaited_by_the_next() {
    let system = System::start();
    let mut dispatcher = system.dispatcher();
    // The mails are sent, and then the Jobs cannot record them.
    let lock = system.database.hold("LOCK TABLES sent_mails WRITE");
    system.publish(&registration("One Ltd"));
    system.publish(&registration("Two Ltd"));
    let jobs = |dispatcher: &crate::system::Dispatcher| {
        let found = dispatcher.running.directory().processes().into_iter();
        found.filter(|(_, name)| name == "send-welcome-email").map(|(id, _)| id).collect::<Vec<_>>()
    };
    wait::until(LIMIT, "two Jobs stand in their step", || (jobs(&dispatcher).len() == 2).then_some(()));
    system.smtp.until_mails(2);
    dispatcher.running.kill();

    let next = system.dispatcher();
    wait::until(LIMIT, "the next dispatcher has both events", || {
        let metrics = tests::http::get(next.port, "/metrics").ok()?.body;
        let running = "dispatcher_jobs_running{trigger=\"welcome-email-sent-trigger\"} 2";
        metrics.contains(running).then_some(())
    });
    assert_eq!(
        (jobs(&dispatcher).len(), jobs(&next).len()),
        (2, 0),
        "Jobs of the dead and of the next dispatcher"
    );
    drop(lock);
    system.until_onboarded(2);
    system.check_books(2);
}

#[test]
fn nats_stopped_and_started_in_mid_flow_loses_nothing() {
    let mut system = System::start();
    let _dispatcher = system.dispatcher();
    publish_all(&system);
    system.database.until_count("users WHERE saved_at IS NOT NULL", 2);
    system.nats.stop();
    system.nats.start_again();
    system.until_onboarded(CUSTOMERS);
    system.check_books(CUSTOMERS);
}

#[test]
fn the_database_stopped_and_started_in_mid_flow_loses_nothing() {
    let mut server = MariaDb::start();
    let system = System::on(&server);
    let dispatcher = system.dispatcher();
    publish_all(&system);
    system.database.until_count("users WHERE saved_at IS NOT NULL", 2);
    server.stop();
    wait::until(LIMIT, "a Job has met the stopped database", || {
        let metrics = tests::http::get(dispatcher.port, "/metrics").ok()?.body;
        metrics
            .lines()
            .any(|line| line.contains("outcome=\"try_again\"") && !line.ends_with(" 0"))
            .then_some(())
    });
    server.start_again();
    system.until_onboarded(CUSTOMERS);
    system.check_books(CUSTOMERS);
}

#[test]
fn two_dispatchers_share_the_work_and_one_may_die() {
    let system = System::start();
    let mut one = system.dispatcher_with(&crate::system::shipped_events(), "one");
    let _other = system.dispatcher_with(&crate::system::shipped_events(), "other");
    publish_all(&system);
    system.database.until_count("customers", 2);
    one.running.kill();
    system.until_onboarded(CUSTOMERS);
    system.check_books(CUSTOMERS);
}

#[test]
fn a_vendor_that_hangs_does_not_stop_the_registrations() {
    let system = System::start();
    let _dispatcher = system.dispatcher();
    system.vendor.set(vendor::Mode::Hang);
    publish_all(&system);
    system.database.until_count("users WHERE saved_at IS NOT NULL", 3 * CUSTOMERS);
    publish_all(&system);
    system.database.until_count("users WHERE saved_at IS NOT NULL", 6 * CUSTOMERS);
    assert_eq!(system.onboarded(), 0);
    system.vendor.set(vendor::Mode::Ok);
    system.until_onboarded(2 * CUSTOMERS);
    system.check_books(2 * CUSTOMERS);
}
