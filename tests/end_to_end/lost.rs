//! What a dispatcher does not know, or the bus has lost: different manifests during an upgrade, a lost store, letters
//! that cannot be replayed.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{vendor, wait};

use crate::dispatcher::copy;
use crate::system::{LIMIT, System, registration, shipped_events};

const CUSTOMERS: usize = 4;

#[test]
fn two_dispatchers_with_different_manifests_lose_nothing_during_an_upgrade() {
    let system = System::start();
    let older = system.scratch.join("older");
    copy(&shipped_events(), &older);
    // Like an older version, without the step for each user and the last step.
    for step in ["user-saved", "touchpoints-created"] {
        fs::remove_dir_all(older.join(step)).unwrap();
    }
    let old = system.dispatcher_with(&older, "old");
    for number in 0..CUSTOMERS {
        system.publish(&registration(&format!("Before {number}")));
    }
    // Events that the old version cannot take wait, and no customer is shown as onboarded because of it.
    wait::until(LIMIT, "the old dispatcher has parked events", || {
        old.running.process.output().contains("parked until the manifests change").then_some(())
    });
    let metrics = tests::http::get(old.port, "/metrics").unwrap().body;
    assert!(metrics.contains("dispatcher_customers{stage=\"onboarded\"} 0\n"), "{metrics}");
    assert_eq!(system.onboarded(), 0);

    let _new = system.dispatcher_with(&shipped_events(), "new");
    for number in 0..CUSTOMERS {
        system.publish(&registration(&format!("Meanwhile {number}")));
    }
    system.until_onboarded(2 * CUSTOMERS);
    system.check_books(2 * CUSTOMERS);
    old.running.terminate().expect_code(0);
}

/// Customers that wait for the vendor, on a bus that has then lost everything. The events that they wait for are
/// older than a minute.
fn after_a_loss() -> System {
    let mut system = System::start();
    let mut dispatcher = system.dispatcher();
    system.vendor.set(vendor::Mode::Status(503));
    for number in 0..CUSTOMERS {
        system.publish(&registration(&format!("Lost {number}")));
    }
    let marketing = "sent_mails WHERE kind = 'welcome'";
    system.database.until_count(marketing, CUSTOMERS);
    system.database.until_count("outbox WHERE nats_subject = 'marketing-notified'", CUSTOMERS);
    system.database.until_count("handled_events WHERE step = 'save-user'", 3 * CUSTOMERS);
    system.nats.until_events("marketing-notified", CUSTOMERS);
    // A worker that is killed between a mail and its entry would send the mail again.
    system.database.until_count("effects WHERE step = 'notify-marketing' AND effect = 'mail'", CUSTOMERS);
    dispatcher.running.kill();
    for (worker, _) in dispatcher.running.directory().processes() {
        // It may have ended meanwhile.
        let _ = Pid::from_raw(worker).map(|worker| kill_process(worker, Signal::KILL));
    }
    system.nats.stop();
    fs::remove_dir_all(system.nats.store()).unwrap();
    system.nats.start_again();
    system.database.execute("UPDATE handled_events SET handled_at = handled_at - INTERVAL 5 MINUTE");
    system.vendor.set(vendor::Mode::Ok);
    system
}

fn check(system: &System) {
    wait::until(LIMIT, "all are onboarded", || (system.onboarded() == CUSTOMERS).then_some(()));
    assert_eq!(system.database.count("sent_mails"), 2 * CUSTOMERS, "mails recorded");
    assert_eq!(system.smtp.mails().len(), 2 * CUSTOMERS, "mails");
    assert_eq!(system.database.count("swag_orders"), CUSTOMERS, "orders");
    assert_eq!(system.database.count("touchpoints"), CUSTOMERS, "touchpoints");
    assert!(system.dead_letters().is_empty());
}

#[test]
fn events_that_a_lost_store_has_taken_along_are_published_again_by_the_dispatcher() {
    let system = after_a_loss();
    let dispatcher = system.dispatcher();
    check(&system);
    let log = dispatcher.running.process.output();
    assert!(log.contains("events of the outbox were missing in the bus"), "{log}");
}

#[test]
fn republish_publishes_what_the_bus_has_lost_once_and_says_what() {
    let system = after_a_loss();
    // The stream exists again, and no dispatcher uses it.
    system.nats.create_stream();
    let republish = |arguments: &[&str]| {
        let all: Vec<_> = ["republish", "--output", "json"].iter().chain(arguments).copied().collect();
        let command = system.command(&all).set("DISPATCHER_EVENTS", &shipped_events().display());
        let said = command.run_to(0).last_line();
        said["events"].as_array().unwrap().clone()
    };
    let lost = republish(&["--dry-run"]);
    assert!(lost.len() >= CUSTOMERS, "{lost:?}");
    assert_eq!(system.nats.events("marketing-notified").len(), 0);
    assert_eq!(republish(&[]), lost);
    assert_eq!(republish(&[]), Vec::<Value>::new());
    assert_eq!(system.nats.events("marketing-notified").len(), CUSTOMERS);
    let _dispatcher = system.dispatcher();
    check(&system);
}

#[test]
fn actions_on_many_letters_go_on_past_one_that_fails_and_say_what_is_left() {
    let system = System::start();
    let _dispatcher = system.dispatcher();
    system.nats.publish_raw("customer-registered", b"no colon", b"unreadable");
    let first = system.until_dead_letters(1)[0]["number"].to_string();
    system.vendor.set(vendor::Mode::Status(422));
    for number in 0..CUSTOMERS {
        system.publish(&registration(&format!("Refused {number}")));
    }
    system.until_dead_letters(1 + CUSTOMERS);
    system.vendor.set(vendor::Mode::Ok);

    let act = |arguments: &[&str], code| system.command(arguments).run_to(code).output;
    let said = act(&["dead-letters", "replay", "--all"], 65);
    assert!(said.contains(&format!("{CUSTOMERS} replayed")), "{said}");
    assert!(said.contains(&format!("left: {first}: ")), "{said}");
    system.until_onboarded(CUSTOMERS);
    system.check_books_but_for_letters(CUSTOMERS);

    system.nats.publish_bytes("customer-saved", b"no event".to_vec());
    let letters = system.until_dead_letters(2);
    let last = letters[1]["number"].to_string();
    let said = act(&["dead-letters", "drop", "999", &last], 65);
    assert!(said.contains("1 dropped") && said.contains("left: 999: there is no dead letter"), "{said}");
    // An unreadable letter can be dropped.
    let said = act(&["dead-letters", "drop", "--all"], 0);
    assert!(said.contains("1 dropped"), "{said}");
    assert!(system.dead_letters().is_empty());
}
