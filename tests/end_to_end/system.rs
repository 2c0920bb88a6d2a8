//! A whole system under test: servers, database, mail, vendor, and dispatchers with child processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tests::database::Database;
use tests::http;
use tests::mariadb::MariaDb;
use tests::nats::Nats;
use tests::program::{Program, Running};
use tests::scratch::Scratch;
use tests::smtp::Smtp;
use tests::vendor::Vendor;
use tests::{Setting, port, settings, wait};
use uuid::Uuid;

/// Long enough for any flow on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// The manifests that we ship.
pub(crate) fn shipped_events() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events").canonicalize().expect("events/")
}

/// A registration with a new id and three users.
pub(crate) fn registration(name: &str) -> Value {
    let id = Uuid::new_v4();
    let user = |number: u8, role: &str| json!({"name": format!("User {number}"), "email": format!("u{number}.{}@x.example", &id.simple().to_string()[..12]), "role": role});
    json!({
        "specversion": "1.0", "id": Uuid::new_v4(), "source": "knapscen.disco", "type": "disco.knapscen.customer.registered",
        "subject": id, "time": "2026-02-27T09:15:00Z", "datacontenttype": "application/json",
        "data": {
            "name": name, "subscription_tier": "groovy", "shipping_address": "14 Quayside, Aarhus",
            "users": [user(0, "customer_account_owner"), user(1, "admin_user"), user(2, "generic_user")],
        },
    })
}

/// Servers and settings; dispatchers are started on it.
pub(crate) struct System {
    pub(crate) nats: Nats,
    pub(crate) database: Database,
    pub(crate) smtp: Smtp,
    pub(crate) vendor: Vendor,
    pub(crate) scratch: Scratch,
}

impl System {
    /// On the MariaDB that tests share.
    pub(crate) fn start() -> Self {
        Self::on(MariaDb::shared())
    }

    /// On a MariaDB of the test's own.
    pub(crate) fn on(server: &MariaDb) -> Self {
        Self {
            nats: Nats::start(),
            database: server.database().migrated(),
            smtp: Smtp::start(),
            vendor: Vendor::start(),
            scratch: Scratch::new("system"),
        }
    }

    /// The contents of the Secret `knapscen-config`.
    pub(crate) fn secret(&self) -> Vec<Setting> {
        let mut all = self.database.settings();
        all.extend(self.nats.settings());
        all.extend(self.smtp.settings());
        all.extend(settings([
            ("MARKETING_WEBHOOK_URL", &self.vendor.url("/marketing")),
            ("MARKETING_EMAIL", "marketing@knapscen.example"),
            ("SWAG_API_URL", &self.vendor.url("/orders")),
            ("SWAG_API_TOKEN", "vendor-token"),
            ("CRM_API_URL", &self.vendor.url("/crm")),
        ]));
        all
    }

    /// A dispatcher on JetStream with the shipped manifests, ready.
    pub(crate) fn dispatcher(&self) -> Dispatcher {
        self.dispatcher_with(&shipped_events(), "state")
    }

    /// The same with other manifests, or with a state folder of its own.
    pub(crate) fn dispatcher_with(&self, events: &Path, state: &str) -> Dispatcher {
        let program = Program::dispatcher().settings(self.nats.settings()).settings(self.database.settings());
        start_dispatcher(program, &self.scratch, &self.secret(), events, state)
    }

    /// A command of the dispatcher that needs bus and database.
    pub(crate) fn command(&self, arguments: &[&str]) -> Program {
        let program = Program::dispatcher().settings(self.nats.settings()).settings(self.database.settings());
        arguments.iter().fold(program, tests::program::Program::argument)
    }

    pub(crate) fn publish(&self, event: &Value) {
        let subject = match event["type"].as_str().unwrap_or_default() {
            "disco.knapscen.customer.registered" => "customer-registered",
            "disco.knapscen.customer.saved" => "customer-saved",
            "disco.knapscen.user.saved" => "user-saved",
            other => panic!("no subject for {other}"),
        };
        self.nats.publish(subject, event);
    }

    pub(crate) fn until_onboarded(&self, customers: usize) {
        wait::until(LIMIT, &format!("{customers} customers are onboarded"), || {
            (self.onboarded() >= customers && self.nats.events("customer-onboarded").len() >= customers)
                .then_some(())
        });
    }

    pub(crate) fn onboarded(&self) -> usize {
        self.database.count("customers WHERE onboarded_at IS NOT NULL")
    }

    /// Checks rows, mails, orders and events of this many customers with three users each: nothing is lost or
    /// doubled.
    pub(crate) fn check_books(&self, customers: usize) {
        self.check_books_but_for_letters(customers);
        assert_eq!(self.dead_letters(), Vec::<Value>::new());
    }

    /// The same, if dead letters of others are left.
    pub(crate) fn check_books_but_for_letters(&self, customers: usize) {
        assert_eq!(self.database.count("customers WHERE onboarded_at IS NOT NULL"), customers, "customers");
        assert_eq!(self.database.count("users WHERE saved_at IS NOT NULL"), 3 * customers, "users");
        assert_eq!(self.database.count("swag_orders WHERE status = 'ordered'"), customers, "orders recorded");
        assert_eq!(self.database.count("touchpoints"), customers, "touchpoints");
        assert_eq!(self.database.count("sent_mails"), 2 * customers, "mails recorded");
        assert_eq!(distinct_mails(&self.smtp), 2 * customers, "mails by Message-ID");
        let orders = self.vendor.orders();
        let keys = |path: &str| {
            let mut keys: Vec<_> = self
                .vendor
                .requests()
                .iter()
                .filter(|r| r.path == path)
                .filter_map(|r| r.key().map(str::to_owned))
                .collect();
            keys.sort();
            keys.dedup();
            keys.len()
        };
        assert_eq!(
            (keys("/orders"), keys("/marketing"), keys("/crm")),
            (customers, customers, customers),
            "{orders:?}"
        );
        for (subject, count) in [
            ("customer-saved", customers),
            ("user-saved", 3 * customers),
            ("welcome-email-sent", customers),
            ("marketing-notified", customers),
            ("swag-ordered", customers),
            ("touchpoints-created", customers),
            ("customer-onboarded", customers),
        ] {
            assert_eq!(distinct_events(&self.nats, subject), count, "{subject}");
        }
    }

    /// The dead letters, as listed by the command.
    pub(crate) fn dead_letters(&self) -> Vec<Value> {
        self.command(&["dead-letters", "list", "--output", "json"]).run_to(0).dead_letters()
    }

    /// Waits for dead letters.
    pub(crate) fn until_dead_letters(&self, count: usize) -> Vec<Value> {
        wait::until(LIMIT, &format!("{count} dead letters are there"), || {
            let letters = self.dead_letters();
            (letters.len() >= count).then_some(letters)
        })
    }
}

/// The number of different mails.
pub(crate) fn distinct_mails(smtp: &Smtp) -> usize {
    let mut ids: Vec<_> = smtp.mails().into_iter().map(|mail| mail.message_id).collect();
    ids.sort();
    ids.dedup();
    ids.len()
}

/// The number of different events on a subject.
pub(crate) fn distinct_events(nats: &Nats, subject: &str) -> usize {
    let mut ids: Vec<_> = nats.events(subject).iter().map(|event| event["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    ids.len()
}

/// A running dispatcher.
pub(crate) struct Dispatcher {
    pub(crate) running: Running,
    pub(crate) port: u16,
}

/// Starts a dispatcher with the process backend and waits until it is ready.
pub(crate) fn start_dispatcher(
    program: Program,
    scratch: &Scratch,
    secret: &[Setting],
    events: &Path,
    state: &str,
) -> Dispatcher {
    let lines: Vec<_> = secret.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let secret = scratch.write("knapscen-config.env", &lines.concat());
    let port = port::free();
    let program = program
        .argument("run")
        .argument("--events")
        .argument(events)
        .argument("--listen")
        .argument(format!("127.0.0.1:{port}"))
        .argument("--secret")
        .argument(format!("knapscen-config={}", secret.display()))
        .argument("--state-dir")
        .argument(scratch.join(state))
        .argument("--bin-dir")
        .argument(tests::program::binaries())
        .argument("--backoff-ms")
        .argument("200")
        .argument("--max-running")
        .argument("8");
    let mut running = program.start();
    running.process.until("ready", || http::get(port, "/readyz").ok().filter(|answer| answer.status == 200));
    Dispatcher { running, port }
}
