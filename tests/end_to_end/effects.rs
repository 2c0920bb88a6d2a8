//! Each effect outside of the database takes place once: channel by channel, whatever fails next to it or after it.

use std::time::Duration;

use serde_json::json;
use tests::program::Program;
use tests::proxy::{Mode, Proxy};
use tests::{smtp, vendor};

use crate::worker_input::{Bench, steps};

fn database_port(bench: &Bench) -> u16 {
    let settings = bench.database.settings();
    settings.iter().find(|(name, _)| name == "DB_PORT").expect("a port").1.parse().expect("a number")
}

#[test]
fn a_channel_that_fails_never_repeats_the_other() {
    let bench = Bench::start();
    bench.smtp.set(smtp::Mode::Refuse4xx);
    for _ in 0..3 {
        bench.worker("notify-marketing").run_to(75);
    }
    assert_eq!((bench.vendor.requested(), bench.smtp.mails().len()), (1, 0));
    bench.smtp.set(smtp::Mode::Accept);
    bench.worker("notify-marketing").run_to(0);
    assert_eq!((bench.vendor.requested(), bench.smtp.mails().len()), (1, 1));

    // The other way round: a webhook that is away does not delay the mail.
    let other = || bench.worker("notify-marketing").set("EVENT_ID", "other");
    bench.vendor.set(vendor::Mode::Status(503));
    for _ in 0..3 {
        other().run_to(75);
    }
    assert_eq!((bench.vendor.requested(), bench.smtp.mails().len()), (4, 2));
    bench.vendor.set(vendor::Mode::Says("ok"));
    other().run_to(0);
    assert_eq!((bench.vendor.requested(), bench.smtp.mails().len()), (5, 2));
    assert_eq!(bench.nats.events("swag-ordered").len(), 2);
}

#[test]
fn what_the_database_does_after_an_effect_never_repeats_it() {
    let bench = Bench::start();
    let steps = [
        ("send-welcome-email", "sent_mails"),
        ("order-swag", "swag_orders"),
        ("create-touchpoints", "touchpoints"),
    ];
    for (step, rows) in steps {
        for words in ["INSERT INTO effects", rows, "INSERT INTO outbox"] {
            for mode in [Mode::HoldBefore(words), Mode::HoldAfter(words)] {
                let proxy = Proxy::before(database_port(&bench));
                proxy.set(mode.clone());
                let customer = uuid::Uuid::new_v4();
                let worker = bench.worker(step).settings(bench.database.settings_through(proxy.port()));
                let worker = worker.set("CUSTOMER_ID", &customer).set("EVENT_ID", &customer);
                let before = bench.vendor.requested() + bench.smtp.mails().len();
                let running = worker.start();
                proxy.until_reached();
                // This connection ends there, and the next one works.
                proxy.set(Mode::Refuse);
                proxy.set(Mode::Pass);
                running.wait().expect_code(0);
                let effects = bench.vendor.requested() + bench.smtp.mails().len() - before;
                assert_eq!(effects, 1, "{step} {mode:?}");
                for table in ["effects", rows] {
                    let of_it = format!("{table} WHERE customer_id = '{customer}'");
                    assert_eq!(bench.database.count(&of_it), 1, "{step} {mode:?}");
                }
            }
        }
    }
}

#[test]
fn a_worker_killed_while_it_records_does_not_make_its_effect_again() {
    for (step, rows) in [
        ("send-welcome-email", "sent_mails"),
        ("notify-marketing", "sent_mails"),
        ("order-swag", "swag_orders"),
    ] {
        let bench = Bench::start();
        let proxy = Proxy::before(database_port(&bench));
        proxy.set(Mode::HoldBefore(rows));
        let worker = bench.worker(step).settings(bench.database.settings_through(proxy.port()));
        let mut running = worker.start();
        proxy.until_reached();
        running.kill();
        drop(proxy);
        let before = (bench.vendor.requested(), bench.smtp.mails().len());
        bench.worker(step).run_to(0);
        assert_eq!((bench.vendor.requested(), bench.smtp.mails().len()), before, "{step}");
        assert_eq!(bench.database.count("handled_events"), 1, "{step}");
    }
}

#[test]
fn a_database_that_stays_away_after_an_effect_is_tried_until_the_deadline_and_then_it_is_75() {
    let bench = Bench::start();
    let proxy = Proxy::before(database_port(&bench));
    proxy.set(Mode::HoldBefore("INSERT INTO effects"));
    let worker = bench.worker("order-swag").settings(bench.database.settings_through(proxy.port()));
    let running = worker.set("STEP_TIMEOUT_SECONDS", "3").start();
    proxy.until_reached();
    proxy.set(Mode::Refuse);
    let ended = running.wait();
    ended.expect_code(75);
    assert!(ended.reported("/error/message").contains("STEP_TIMEOUT_SECONDS"), "{}", ended.report);
    assert_eq!(bench.vendor.requested(), 1);
}

#[test]
fn a_mail_is_sent_when_its_data_is_taken_whatever_becomes_of_the_good_bye() {
    let bench = Bench::start();
    bench.smtp.set(smtp::Mode::HangAtQuit);
    let ended = bench.worker("send-welcome-email").run_to(0);
    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
    assert_eq!(bench.worker("send-welcome-email").run_to(0).report["outcome"], "repeated");
    assert_eq!(bench.smtp.mails().len(), 1);
}

#[test]
fn an_answer_that_says_no_is_a_failure_although_its_status_is_200() {
    let bench = Bench::start();
    let without_mail =
        |event: &str| bench.worker("notify-marketing").without("MARKETING_EMAIL").set("EVENT_ID", event);
    let table = [
        (
            "notify-marketing",
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429",
            75,
        ),
        (
            "notify-marketing",
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 404",
            78,
        ),
        ("notify-marketing", "invalid_token", 78),
        ("notify-marketing", "<html>please log in</html>", 75),
        ("order-swag", r#"{"success":false,"message":"invalid address"}"#, 65),
        ("order-swag", r#"{"status":"error"}"#, 75),
        ("create-touchpoints", r#"{"data":null,"errors":[{"message":"rate limit exceeded"}]}"#, 75),
    ];
    for (step, says, code) in table {
        bench.vendor.set(vendor::Mode::Says(says));
        let worker = if step == "notify-marketing" { without_mail("no") } else { bench.worker(step) };
        let ended = worker.run_to(code);
        assert!(ended.reported("/error/message").contains("its body says no"), "{}", ended.report);
    }
    assert_eq!(bench.database.count("effects") + bench.database.count("handled_events"), 0);
    // A service with its own format of answers.
    bench.vendor.set(vendor::Mode::Says(r#"{"error":"none of your business","state":"queued"}"#));
    bench.worker("order-swag").run_to(75);
    bench.worker("order-swag").set("SWAG_API_ANSWER", "/state=done").run_to(75);
    bench.worker("order-swag").set("SWAG_API_ANSWER", "/state=queued").run_to(0);
    bench.vendor.set(vendor::Mode::Says("<html>thanks</html>"));
    without_mail("any").set("MARKETING_WEBHOOK_ANSWER", "any").run_to(0);
}

#[test]
fn a_sink_acknowledges_an_event_with_202_and_nothing_else() {
    let bench = Bench::start();
    let worker =
        || bench.worker("save-user").without("NATS_SERVER").set("K_SINK", &bench.vendor.url("/events"));
    for mode in [vendor::Mode::Says("<html>please log in</html>"), vendor::Mode::Ok, vendor::Mode::Says("")] {
        bench.vendor.set(mode);
        let ended = worker().run_to(75);
        assert!(ended.reported("/error/message").contains("202"), "{}", ended.report);
    }
    bench.vendor.set(vendor::Mode::Accepted);
    worker().run_to(0);

    let event = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/customer-saved/sample.cloudevent");
    let publish = || {
        let dispatcher = Program::dispatcher().argument("publish").argument("--to");
        dispatcher.argument(bench.vendor.url("/events")).argument(event)
    };
    publish().run_to(0);
    bench.vendor.set(vendor::Mode::Says("<html>please log in</html>"));
    let ended = publish().run_to(75);
    assert!(ended.output.contains("202"), "{}", ended.output);
}

#[test]
fn of_two_registrations_of_one_customer_the_first_stands_with_its_users() {
    let bench = Bench::start();
    let register = |event: &str, tier: &str, email: &str| {
        let users = json!([{ "name": "Ann", "email": email, "role": "customer_account_owner" }]);
        let data = json!({ "name": "TechCorp", "subscription_tier": tier, "users": users, "shipping_address": event });
        let worker = bench.worker("register-corporate-customer").set("EVENT_ID", event);
        worker.set("COMPANY_DATA", &data.to_string()).set("SUBSCRIPTION_TIER", tier).run_to(0)
    };
    register("first", "groovy", "ann@x.example");
    let second = register("second", "far-out", "eve@x.example");
    assert_eq!(second.report["outcome"], "done");
    assert_eq!(bench.database.count("users WHERE email = 'eve@x.example'"), 0);
    assert_eq!(bench.database.count("users"), 1);
    let events = bench.nats.events("customer-saved");
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["data"], events[1]["data"], "what goes on is the first registration");
    assert_eq!(events[1]["data"]["users"][0]["email"], "ann@x.example");

    // A customer that was saved by hand is completed by its first registration.
    let by_hand = bench.worker("register-corporate-customer").set("CUSTOMER_ID", &bench.customer);
    by_hand.set("EVENT_ID", "late").run_to(0);
    assert_eq!(bench.database.count("users WHERE email = 'boss@x.example'"), 1);
}

#[test]
fn the_deadline_of_each_shipped_job_has_room_for_all_its_tries() {
    let mut seen = 0;
    for (step, _) in steps() {
        let help = Program::worker(step).argument("--help").run_to(0).output;
        let timeout = number_behind(&help, "It gives up after ");
        let events = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");
        for event in std::fs::read_dir(events).expect("the events").flatten() {
            let Ok(job) = std::fs::read_to_string(event.path().join("configmap.yaml")) else { continue };
            if !job.contains(&format!("{step}:latest")) {
                continue;
            }
            seen += 1;
            let again = number_behind(&job, "backoffLimit: ");
            // Kubernetes waits 10 s before the second try, and twice as long before each one that follows.
            let waits = 10 * (2_u64.pow(u32::try_from(again).expect("few tries")) - 1);
            let deadline = number_behind(&job, "activeDeadlineSeconds: ");
            assert!(deadline >= (again + 1) * timeout + waits, "{step}: {deadline} s, {timeout} s each");
        }
    }
    assert_eq!(seen, steps().count());
}

fn number_behind(text: &str, words: &str) -> u64 {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {text}"));
    rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).expect("a number")
}
