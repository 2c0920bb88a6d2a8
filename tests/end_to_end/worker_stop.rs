//! Every worker before servers that are frozen, and asked to stop at the points of its step.

use tests::program::Program;
use tests::proxy::{Mode, Proxy};
use tests::smtp;

use crate::system::{distinct_events, distinct_mails};
use crate::worker_input::{Bench, STEPS};

fn database_port(bench: &Bench) -> u16 {
    let settings = bench.database.settings();
    settings.iter().find(|(name, _)| name == "DB_PORT").expect("a port").1.parse().expect("a number")
}

/// The worker with a proxy before its database and one before its broker.
fn behind(bench: &Bench, step: &str, database: &Proxy, nats: &Proxy) -> Program {
    let worker = bench.worker(step).settings(bench.database.settings_through(database.port()));
    worker.set("NATS_SERVER", &format!("nats://127.0.0.1:{}", nats.port()))
}

#[test]
fn every_worker_before_a_frozen_server_ends_with_75_at_its_time_limit() {
    let bench = Bench::start();
    let (database, nats) = (Proxy::before(database_port(&bench)), Proxy::before(bench.nats.port()));
    for (step, _) in STEPS {
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
    for (step, emits) in STEPS {
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
