//! The whole flow, from a registration to `customer-onboarded`.

use std::time::Duration;

use serde_json::json;
use tests::client::publish_without_headers;
use tests::database::Database;
use tests::program::Program;
use tests::scratch::Scratch;
use tests::smtp::Smtp;
use tests::vendor::Vendor;
use tests::{http, settings, wait};
use uuid::Uuid;

use crate::system::{LIMIT, System, distinct_mails, registration, shipped_events, start_dispatcher};

#[test]
fn five_registrations_run_through_all_steps_on_real_servers() {
    let system = System::start();
    let dispatcher = system.dispatcher();
    for number in 0..5 {
        system.publish(&registration(&format!("Company {number}")));
    }
    system.until_onboarded(5);
    system.check_books(5);
    let onboarded = system.nats.events("customer-onboarded");
    assert_eq!(onboarded[0]["data"]["started_at"], "2026-02-27T09:15:00.000Z");
    let order =
        system.vendor.requests().into_iter().find(|request| request.path == "/orders").expect("an order");
    assert_eq!(order.headers["authorization"], "Bearer vendor-token");
    wait::until(LIMIT, "status says so", || {
        let status = system.command(&["status"]).run_to(0).output;
        let listed = status.lines().filter(|line| line.contains("groovy  onboarded")).count();
        (listed == 5 && status.contains("5 onboarded")).then_some(())
    });
    let ended = dispatcher.running.terminate();
    ended.expect_code(0);
    assert!(!ended.output.contains("vendor-token"), "a secret in the log");
    assert!(!ended.output.contains("@x.example"), "an address in the log");
}

#[test]
fn the_flow_runs_on_the_embedded_bus_with_events_over_http() {
    let (scratch, smtp, vendor) = (Scratch::new("embedded"), Smtp::start(), Vendor::start());
    let database = Database::sqlite().migrated();
    let mut secret = database.settings();
    secret.extend(smtp.settings());
    secret.extend(settings([
        ("MARKETING_WEBHOOK_URL", &vendor.url("/marketing")),
        ("SWAG_API_URL", &vendor.url("/orders")),
    ]));
    let program = Program::dispatcher()
        .set("DISPATCHER_BUS", "embedded")
        .set("DISPATCHER_QUEUE", &scratch.join("queue.db").display());
    let dispatcher = start_dispatcher(program, &scratch, &secret, &shipped_events(), "state");
    let event = registration("Embedded & Co").to_string();
    for _ in 0..2 {
        let headers = [("Content-Type", "application/cloudevents+json")];
        let answer = http::request(
            Duration::from_secs(10),
            dispatcher.port,
            "POST",
            "/events",
            &headers,
            event.as_bytes(),
        )
        .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    wait::until(LIMIT, "onboarded", || {
        (database.count("customers WHERE onboarded_at IS NOT NULL") == 1).then_some(())
    });
    assert_eq!(distinct_mails(&smtp), 1);
    assert_eq!(vendor.requests().iter().filter(|request| request.path == "/orders").count(), 1);
    dispatcher.running.terminate().expect_code(0);
}

#[test]
fn a_hand_written_customer_and_user_of_a_foreign_client_are_taken() {
    let system = System::start();
    let _dispatcher = system.dispatcher();
    let customer = "550e8400-e29b-41d4-a716-446655440000";
    let event = |kind: &str, data: serde_json::Value| {
        json!({
            "specversion": "1.0", "type": format!("disco.knapscen.{kind}.saved"), "source": "knapscen.disco",
            "subject": customer, "id": "test-event-001", "time": "2026-02-27T09:15:00Z",
            "datacontenttype": "application/json", "data": data,
        })
    };
    publish_without_headers(
        &system.nats,
        "customer-saved",
        &event("customer", json!({"name": "Test Company", "subscription_tier": "basic"})),
    );
    system.database.until_count("customers", 1);
    assert_eq!(system.database.text("SELECT name FROM customers"), "Test Company");
    let user = json!({"user_id": Uuid::new_v4(), "name": "Ann", "email": "ann@x.example", "role": "customer_account_owner"});
    publish_without_headers(&system.nats, "user-saved", &event("user", user));
    // Its owner is saved: the welcome follows, and everything after it.
    system.until_onboarded(1);
    assert_eq!(system.nats.events("welcome-email-sent").len(), 1);
    assert_eq!(system.database.count("swag_orders WHERE status = 'waiting_for_address'"), 1);
    assert_eq!(system.dead_letters().len(), 0);
}

#[test]
fn the_same_event_twice_changes_nothing() {
    let system = System::start();
    let dispatcher = system.dispatcher();
    let event = registration("Twice Ltd");
    for _ in 0..3 {
        system.publish(&event);
    }
    system.until_onboarded(1);
    // Once more, when all is done.
    system.publish(&event);
    wait::until(LIMIT, "nothing waits any more", || {
        let metrics = http::get(dispatcher.port, "/metrics").ok()?.body;
        metrics.contains("dispatcher_events_received_total{subject=\"customer-registered\"} 4").then(
            || metrics.contains("dispatcher_bus_in_flight{subject=\"customer-registered\"} 0").then_some(()),
        )?
    });
    system.check_books(1);
}

#[test]
fn a_hostile_company_name_arrives_exactly_and_changes_nothing_else() {
    let system = System::start();
    let _dispatcher = system.dispatcher();
    let names = [
        "\"Quote\" & Sons: #1",
        "O'Brien\\ {{ .Cluster }} $(DB_PASSWORD)",
        "<script>alert(1)</script>",
        "yes",
        "😀 --- !!binary &a *a",
    ];
    for name in names {
        system.publish(&registration(name));
    }
    let newline = registration("x\"\n        - name: LD_PRELOAD\n          value: \"/evil.so");
    system.publish(&newline);
    system.until_onboarded(names.len());
    let mut stored: Vec<_> = system
        .database
        .rows("SELECT name FROM customers")
        .into_iter()
        .map(|mut row| row.remove("name").unwrap())
        .collect();
    let mut expected: Vec<_> = names.map(str::to_owned).into();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected);
    // A control character in a name is bad input. The dead letter has the worker's own message.
    let letters = system.until_dead_letters(1);
    assert_eq!(letters.len(), 1);
    assert!(letters[0]["reason"].to_string().contains("control character"), "{}", letters[0]);
}
