//! The whole flow: registrations published at once, until the last customer is onboarded, with real servers.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::database::Database;
use tests::mariadb::MariaDb;
use tests::nats::Nats;
use tests::program::{Program, Running, binaries};
use tests::scratch::Scratch;
use tests::smtp::Smtp;
use tests::stack::books::JOBS;
use tests::vendor::Vendor;
use tests::{http, port, settings};
use uuid::Uuid;

use crate::Size;
use crate::measure::{in_turn, milliseconds, run};
use crate::report::Figure;
use crate::stage::AT_ONCE;
use crate::worker;

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let system = System::start(false);
    let floor = worker::Stage::start();
    let mut figures = Vec::new();
    let mut done = 0;
    for customers in size.pick([2, 5], [20, 500]) {
        let [ours, floors] = in_turn(
            size.pick(1, 3),
            usize::from(done == 0),
            [
                &mut |_| {
                    done += customers;
                    system.onboard(customers, done)
                },
                &mut |_| at_once(&floor, customers * JOBS),
            ],
        );
        let each = |total: f64| total / f64::from(u32::try_from(customers).expect("a number"));
        let figure = Figure::new(format!("{customers} customers, each"), "ms", each(ours.median()));
        figures.push(figure.beside(format!("{JOBS} floor programs"), each(floors.median())));
        figures.push(Figure::new(format!("{customers} customers, all"), "s", ours.median() / 1e3));
    }
    figures
}

/// Servers, and a dispatcher on them.
pub(crate) struct System {
    nats: Nats,
    database: Database,
    _smtp: Smtp,
    _vendor: Vendor,
    _scratch: Scratch,
    _dispatcher: Running,
}

impl System {
    /// With the history in the database of the flow, or in memory.
    pub(crate) fn start(history: bool) -> Self {
        let (nats, database) = (Nats::start(), MariaDb::shared().database().migrated());
        let (smtp, vendor, scratch) = (Smtp::start(), Vendor::start(), Scratch::new("flow"));
        let mut secret = [database.settings(), nats.settings(), smtp.settings()].concat();
        secret.extend(settings([
            ("MARKETING_WEBHOOK_URL", &vendor.url("/marketing")),
            ("SWAG_API_URL", &vendor.url("/orders")),
            ("CRM_API_URL", &vendor.url("/crm")),
        ]));
        let lines: Vec<_> = secret.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let secret = scratch.write("knapscen-config.env", &lines.concat());
        let port = port::free();
        let shared = if history { database.settings() } else { Vec::new() };
        let program = Program::dispatcher().settings(nats.settings()).settings(shared).argument("run");
        let program =
            program.argument("--events").argument(Path::new(env!("CARGO_MANIFEST_DIR")).join("../events"));
        let program = program.argument("--listen").argument(format!("127.0.0.1:{port}"));
        let program = program.argument("--secret").argument(format!("knapscen-config={}", secret.display()));
        let program = program.argument("--state-dir").argument(scratch.join("state"));
        let program = program.argument("--bin-dir").argument(binaries());
        let mut dispatcher = program.argument("--max-running").argument(AT_ONCE.to_string()).start();
        dispatcher
            .process
            .until("ready", || http::get(port, "/readyz").ok().filter(|answer| answer.status == 200));
        Self { nats, database, _smtp: smtp, _vendor: vendor, _scratch: scratch, _dispatcher: dispatcher }
    }

    /// Registers this many, and returns the milliseconds until this many are onboarded in total.
    pub(crate) fn onboard(&self, customers: usize, in_all: usize) -> f64 {
        let events: Vec<Value> = (0..customers).map(|_| registration()).collect();
        let started = Instant::now();
        for event in &events {
            self.nats.publish("customer-registered", event);
        }
        let limit = started + Duration::from_mins(30);
        while self.database.count("customers WHERE onboarded_at IS NOT NULL") < in_all {
            assert!(Instant::now() < limit, "{customers} customers are not onboarded");
            std::thread::sleep(Duration::from_millis(20));
        }
        milliseconds(started.elapsed())
    }
}

fn registration() -> Value {
    let id = Uuid::new_v4();
    let short = &id.simple().to_string()[..12];
    let user = |number: u8, role: &str| json!({"name": format!("User {number}"), "email": format!("u{number}.{short}@x.example"), "role": role});
    json!({
        "specversion": "1.0", "id": Uuid::new_v4(), "source": "knapscen.disco", "type": "disco.knapscen.customer.registered",
        "subject": id, "time": "2026-02-27T09:15:00Z", "datacontenttype": "application/json",
        "data": {
            "name": format!("Company {short}"), "subscription_tier": "groovy", "shipping_address": "14 Quayside, Aarhus",
            "users": [user(0, "customer_account_owner"), user(1, "admin_user"), user(2, "generic_user")],
        },
    })
}

/// Runs this many floor programs, as many at once as the dispatcher may run Jobs. Returns the milliseconds for all.
fn at_once(floor: &worker::Stage, count: usize) -> f64 {
    let commands: Vec<_> =
        (0..count).map(|_| std::sync::Mutex::new(floor.command("benchmark-floor"))).collect();
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(command) = commands.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(&mut command.lock().expect("a command"));
                }
            });
        }
    });
    milliseconds(started.elapsed())
}
