//! Every worker with frozen servers is asked to stop at each point of its step.

use std::time::Duration;

use tests::program::{Program, Running};
use tests::proxy::{Mode, Proxy};
use tests::{http, smtp, vendor, wait};

use crate::system::{
    System, distinct_events, distinct_mails, registration, shipped_events, start_dispatcher,
};
use crate::worker_input::{Bench, steps};

fn database_port(bench: &Bench) -> u16 {
    let settings = bench.database.settings();
    settings.iter().find(|(name, _)| name == "DB_PORT").expect("a port").1.parse().expect("a number")
}

/// The worker, with a proxy before its database and one before its broker.
fn behind(bench: &Bench, step: &str, database: &Proxy, nats: &Proxy) -> Program {
    let worker = bench.worker(step).settings(bench.database.settings_through(database.port()));
    worker.set("NATS_SERVER", &format!("nats://127.0.0.1:{}", nats.port()))
}

#[test]
fn every_worker_before_a_frozen_server_ends_with_75_at_its_time_limit() {
    let bench = Bench::start();
    let (database, nats) = (Proxy::before(database_port(&bench)), Proxy::before(bench.nats.port()));
    for (step, _) in steps() {
        for frozen in [&database, &nats] {
            frozen.set(Mode::Silent);
            let ended = behind(&bench, step, &database, &nats).set("STEP_TIMEOUT_SECONDS", "1").run_to(75);
            assert_eq!(ended.report["error"]["retry"], true, "{step}");
            frozen.set(Mode::Pass);
        }
    }
    bench.smtp.set(smtp::Mode::Hang);
    for step in ["send-welcome-email", "notify-marketing"] {
        bench.worker(step).set("STEP_TIMEOUT_SECONDS", "1").run_to(75);
    }
    assert_eq!(bench.database.count("handled_events"), 0);
    assert_eq!((bench.nats.stored().len(), bench.smtp.mails().len()), (0, 0));
}

#[test]
fn every_worker_asked_to_stop_anywhere_ends_with_75_and_the_repeat_is_whole() {
    let points = [("INSERT INTO outbox", false), ("COMMIT", true), ("HPUB", false), ("HPUB", true)];
    for (step, emits) in steps() {
        for (words, after) in points {
            let bench = Bench::start();
            let (database, nats) = (Proxy::before(database_port(&bench)), Proxy::before(bench.nats.port()));
            let held = if words == "HPUB" { &nats } else { &database };
            held.set(if after { Mode::HoldAfter(words) } else { Mode::HoldBefore(words) });
            let running = behind(&bench, step, &database, &nats).set("STOP_GRACE_SECONDS", "1").start();
            held.until_reached();
            let ended = running.terminate();
            ended.expect_code(75);
            assert_eq!(ended.report["outcome"], "stopped", "{step} {words}");
            drop((database, nats));
            bench.worker(step).run_to(0);
            assert_eq!(distinct_events(&bench.nats, emits), 1, "{step} {words}");
            assert!(distinct_mails(&bench.smtp) <= 1, "{step} {words}");
            assert_eq!(
                bench.database.count(&format!("handled_events WHERE step = '{step}'")),
                1,
                "{step} {words}"
            );
        }
    }
}

#[test]
fn a_worker_asked_to_stop_in_an_effect_waits_for_its_answer_and_enters_it() {
    let bench = Bench::start();
    bench.smtp.set(smtp::Mode::AcceptThenWait);
    bench.vendor.set(vendor::Mode::AcceptThenWait);
    let steps = ["send-welcome-email", "notify-marketing", "order-swag", "create-touchpoints"];
    let mut running: Vec<Running> = steps.iter().map(|step| bench.worker(step).start()).collect();
    bench.smtp.until_mails(1);
    bench.vendor.until_requests(3);
    for worker in &mut running {
        worker.process.terminate();
    }
    // Longer than the time that a worker gets outside of an effect.
    let ended = wait::within(Duration::from_secs(11), || {
        running.iter_mut().find_map(|worker| worker.process.ended())
    });
    assert_eq!(ended, None);
    bench.smtp.set(smtp::Mode::Accept);
    bench.vendor.set(vendor::Mode::Ok);
    for worker in running {
        let ended = worker.wait();
        ended.expect_code(75);
        assert_eq!(ended.report["outcome"], "stopped");
    }
    assert_eq!(bench.database.count("effects"), 4);
    for step in steps {
        bench.worker(step).run_to(0);
    }
    // The mail of the second step is new.
    assert_eq!((bench.vendor.requested(), bench.smtp.mails().len()), (3, 2));
}

#[test]
fn a_stop_of_the_dispatcher_repeats_no_mail_whose_answer_is_late() {
    let system = System::start();
    let start = || {
        let program = system.command(&[]).set("DISPATCHER_GRACE", "1");
        start_dispatcher(program, &system.scratch, &system.secret(), &shipped_events(), "state")
    };
    let customers = 2;
    let mut first = start().running;
    system.smtp.set(smtp::Mode::AcceptThenWait);
    for number in 0..customers {
        system.publish(&registration(&format!("Late {number} Ltd")));
    }
    system.smtp.until_mails(customers);
    // It stays in scope: its Jobs live on in its directory.
    first.process.terminate();
    assert_eq!(first.process.wait(wait::LIMIT).code(), Some(0), "{}", first.process.evidence());
    let workers = || system.scratch.processes().into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(workers(), vec!["send-welcome-email"; customers], "they wait for their answers");

    let second = start();
    wait::until_true("the next dispatcher has adopted them", || {
        let metrics = http::get(second.port, "/metrics").map(|answer| answer.body).unwrap_or_default();
        metrics.contains("dispatcher_jobs_running{trigger=\"welcome-email-sent-trigger\"} 2\n")
    });
    system.smtp.set(smtp::Mode::Accept);
    system.until_onboarded(customers);
    system.check_books(customers);
    assert_eq!(system.smtp.mails().len(), 2 * customers, "each mail once");
}

#[test]
fn a_registration_with_two_owners_or_one_address_twice_can_never_work() {
    let bench = Bench::start();
    let user = |email: &str, role: &str| format!(r#"{{"name":"Ann","email":"{email}","role":"{role}"}}"#);
    let owner = user("boss@x.example", "customer_account_owner");
    let cases = [
        user("second@x.example", "customer_account_owner"),
        user("BOSS@x.example", "admin_user"),
        user("ann@x.example", "wizard"),
        user("not an address", "generic_user"),
    ];
    for other in cases {
        let data = format!(r#"{{"name":"TechCorp","subscription_tier":"basic","users":[{owner},{other}]}}"#);
        bench.worker("register-corporate-customer").set("COMPANY_DATA", &data).run_to(65);
    }
    assert_eq!(bench.database.count("users") + bench.database.count("handled_events"), 0);
    assert_eq!(bench.nats.stored().len(), 0);
}
