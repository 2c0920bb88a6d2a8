//! Each worker with valid input, on servers of a test.

use shared::event::Kind;
use tests::database::Database;
use tests::nats::Nats;
use tests::program::Program;
use tests::settings;
use tests::smtp::Smtp;
use tests::vendor::Vendor;
use uuid::Uuid;

/// The servers of a worker.
pub(crate) struct Bench {
    pub(crate) nats: Nats,
    pub(crate) database: Database,
    pub(crate) smtp: Smtp,
    pub(crate) vendor: Vendor,
    pub(crate) customer: Uuid,
}

/// Every worker and the subject that it publishes to.
pub(crate) fn steps() -> impl Iterator<Item = (&'static str, &'static str)> {
    Kind::ALL.iter().filter_map(|kind| Some((kind.step()?, kind.subject())))
}

const USERS: &str = r#"[{"name":"Ann","email":"boss@x.example","role":"customer_account_owner"}]"#;

impl Bench {
    pub(crate) fn start() -> Self {
        Self::on(tests::mariadb::MariaDb::shared().database())
    }

    pub(crate) fn on(database: Database) -> Self {
        let nats = Nats::start();
        nats.create_stream();
        let this = Self {
            nats,
            database: database.migrated(),
            smtp: Smtp::start(),
            vendor: Vendor::start(),
            customer: Uuid::new_v4(),
        };
        // The customer is saved, and its only user, the owner, is registered: save-user saves the last user.
        this.database.execute(&format!(
            "INSERT INTO customers (id, name, subscription_tier, started_at, saved_at) \
             VALUES ('{}', 'TechCorp', 'basic', '2026-01-02 03:04:05', '2026-01-02 03:04:06')",
            this.customer
        ));
        this
    }

    /// The worker with everything it needs.
    pub(crate) fn worker(&self, step: &str) -> Program {
        let customer = self.customer;
        let program = Program::worker(step)
            .settings(self.database.settings())
            .settings(self.nats.settings())
            .set("EVENT_ID", &format!("event-{step}"))
            .set("EVENT_TIME", "2026-03-02T10:00:00Z")
            .set("SUBSCRIPTION_TIER", "basic");
        let id = if step == "register-corporate-customer" || step == "save-customer" {
            Uuid::nil()
        } else {
            customer
        };
        let program = program.set("CUSTOMER_ID", &id).set("CUSTOMER_NAME", "TechCorp");
        match step {
            "register-corporate-customer" => {
                program.without("CUSTOMER_NAME").set("COMPANY_NAME", "TechCorp").set(
                    "COMPANY_DATA",
                    &format!(r#"{{"name":"TechCorp","subscription_tier":"basic","users":{USERS}}}"#),
                )
            }
            "save-customer" => program.set("CUSTOMER_DATA", &format!(r#"{{"users":{USERS}}}"#)),
            "save-user" => program
                .set("USER_ID", &customer)
                .set("USER_NAME", "Ann")
                .set("USER_EMAIL", "ann@x.example")
                .set("USER_ROLE", "customer_account_owner"),
            "send-welcome-email" => {
                program.set("PRIMARY_EMAIL", "ann@x.example").settings(self.smtp.settings())
            }
            "notify-marketing" => {
                program.set("USER_COUNT", "3").settings(self.smtp.settings()).settings(settings([
                    ("MARKETING_EMAIL", "m@x.example"),
                    ("MARKETING_WEBHOOK_URL", &self.vendor.url("/marketing")),
                ]))
            }
            "order-swag" => program.set("SHIPPING_ADDRESS", "1 Main Street").settings(settings([
                ("SWAG_API_URL", &self.vendor.url("/orders")),
                ("SWAG_API_TOKEN", "hunter2"),
            ])),
            "create-touchpoints" => program
                .set("WELCOME_OUTREACH_DATE", "2026-03-09")
                .settings(settings([("CRM_API_URL", &self.vendor.url("/crm"))])),
            other => panic!("no worker {other}"),
        }
    }
}
