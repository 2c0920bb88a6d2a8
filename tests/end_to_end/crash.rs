//! A worker is killed at each point of its step, and run again: one row, one mail, one order, one event.

use tests::proxy::{Mode, Proxy};
use tests::vendor;

use crate::system::{distinct_events, distinct_mails};
use crate::worker_input::Bench;

/// The point at which a worker is killed.
#[derive(Debug, Clone, Copy)]
enum Point {
    Database(&'static str, bool),
    Nats(&'static str, bool),
    Smtp(&'static str, bool),
    Vendor(vendor::Mode),
}

const DATABASE_AND_BROKER: [Point; 6] = [
    Point::Nats("CONNECT", false),
    Point::Database("INSERT INTO handled_events", false),
    Point::Database("COMMIT", false),
    Point::Database("COMMIT", true),
    Point::Nats("HPUB", false),
    Point::Nats("HPUB", true),
];

const MAIL: [Point; 3] =
    [Point::Smtp("DATA", false), Point::Smtp("\r\n.\r\n", false), Point::Smtp("\r\n.\r\n", true)];

fn kill_and_repeat(step: &str, emits: &str, point: Point) -> Bench {
    let bench = Bench::start();
    let (database, nats) = (Proxy::before(database_port(&bench)), Proxy::before(bench.nats.port()));
    let smtp = Proxy::before(bench.smtp.port());
    let hold = |text, after| if after { Mode::HoldAfter(text) } else { Mode::HoldBefore(text) };
    match point {
        Point::Database(text, after) => database.set(hold(text, after)),
        Point::Nats(text, after) => nats.set(hold(text, after)),
        Point::Smtp(text, after) => smtp.set(hold(text, after)),
        Point::Vendor(mode) => bench.vendor.set(mode),
    }
    let worker = bench
        .worker(step)
        .settings(bench.database.settings_through(database.port()))
        .set("NATS_SERVER", &format!("nats://127.0.0.1:{}", nats.port()));
    let worker = match step {
        "send-welcome-email" | "notify-marketing" => {
            worker.settings(bench.smtp.settings_through(smtp.port()))
        }
        _ => worker,
    };
    let mut running = worker.start();
    match point {
        Point::Database(..) => database.until_reached(),
        Point::Nats(..) => nats.until_reached(),
        Point::Smtp(..) => smtp.until_reached(),
        Point::Vendor(_) => drop(bench.vendor.until_requests(1)),
    }
    running.kill();
    drop((database, nats, smtp));
    bench.vendor.set(vendor::Mode::Ok);

    bench.worker(step).run_to(0);
    assert_eq!(distinct_events(&bench.nats, emits), 1, "{step} at {point:?}");
    let entries = bench.database.count(&format!("handled_events WHERE step = '{step}'"));
    assert_eq!(entries, 1, "{step} at {point:?}");
    bench
}

fn database_port(bench: &Bench) -> u16 {
    let settings = bench.database.settings();
    let port = settings.iter().find(|(name, _)| name == "DB_PORT").expect("a port");
    port.1.parse().expect("a number")
}

#[test]
fn save_user_killed_anywhere_saves_one_user_and_announces_it_once() {
    for point in DATABASE_AND_BROKER {
        let bench = kill_and_repeat("save-user", "welcome-email-sent", point);
        assert_eq!(bench.database.count("users"), 1, "{point:?}");
    }
}

#[test]
fn send_welcome_email_killed_anywhere_sends_one_mail() {
    for point in DATABASE_AND_BROKER.into_iter().chain(MAIL) {
        let bench = kill_and_repeat("send-welcome-email", "marketing-notified", point);
        assert_eq!(distinct_mails(&bench.smtp), 1, "{point:?}");
        assert_eq!(bench.database.count("sent_mails"), 1, "{point:?}");
    }
}

#[test]
fn order_swag_killed_anywhere_orders_once() {
    let order = [Point::Vendor(vendor::Mode::Hang), Point::Vendor(vendor::Mode::AcceptThenHang)];
    for point in DATABASE_AND_BROKER.into_iter().chain(order) {
        let bench = kill_and_repeat("order-swag", "touchpoints-created", point);
        assert_eq!(bench.vendor.orders().len(), 1, "{point:?}");
        assert_eq!(bench.database.count("swag_orders"), 1, "{point:?}");
    }
}

#[test]
fn register_corporate_customer_killed_anywhere_records_one_registration() {
    for point in DATABASE_AND_BROKER {
        let bench = kill_and_repeat("register-corporate-customer", "customer-saved", point);
        assert_eq!((bench.database.count("customers"), bench.database.count("users")), (2, 1), "{point:?}");
    }
}

#[test]
fn save_customer_killed_anywhere_announces_each_user_once() {
    for point in DATABASE_AND_BROKER {
        let bench = kill_and_repeat("save-customer", "user-saved", point);
        assert_eq!((bench.database.count("customers"), bench.database.count("users")), (2, 1), "{point:?}");
    }
}

#[test]
fn notify_marketing_killed_anywhere_sends_one_note() {
    let webhook = [Point::Vendor(vendor::Mode::Hang), Point::Vendor(vendor::Mode::AcceptThenHang)];
    for point in DATABASE_AND_BROKER.into_iter().chain(webhook).chain(MAIL) {
        let bench = kill_and_repeat("notify-marketing", "swag-ordered", point);
        assert_eq!((bench.vendor.orders().len(), distinct_mails(&bench.smtp)), (1, 1), "{point:?}");
    }
}

#[test]
fn create_touchpoints_killed_anywhere_plans_once() {
    let crm = [Point::Vendor(vendor::Mode::Hang), Point::Vendor(vendor::Mode::AcceptThenHang)];
    for point in DATABASE_AND_BROKER.into_iter().chain(crm) {
        let bench = kill_and_repeat("create-touchpoints", "customer-onboarded", point);
        assert_eq!((bench.vendor.orders().len(), bench.database.count("touchpoints")), (1, 1), "{point:?}");
    }
}
