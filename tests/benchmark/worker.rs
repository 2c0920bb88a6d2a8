//! A whole worker process, compared with the floor program that does the same by hand, and with a process that does
//! nothing.

use std::process::{Command, Stdio};

use tests::database::Database;
use tests::mariadb::MariaDb;
use tests::nats::Nats;
use tests::program::binaries;
use tests::proxy::{Mode, Proxy};
use tests::scratch::Scratch;
use uuid::Uuid;

use crate::Size;
use crate::measure::{in_turn, run};
use crate::memory::memory_of;
use crate::report::{Figure, Goal};

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let stage = Stage::start();
    let rounds = size.pick(20, 200);
    let [null, floor, worker] = in_turn(
        rounds,
        3,
        [
            &mut |_| run(&mut Command::new(binaries().join("benchmark-null"))),
            &mut |_| stage.save("benchmark-floor"),
            &mut |_| stage.save("save-user"),
        ],
    );
    stage.check();
    let (ours, beside) = (stage.memory("save-user"), stage.memory("benchmark-floor"));
    let statements = crate::statement::measure(size, &stage.database);
    let of_a_worker = [
        Figure::new("save-user, median", "ms", worker.median())
            .beside("floor program", floor.median())
            .goal(Goal::RatioAtMost(1.3)),
        Figure::new("save-user, p99", "ms", worker.percentile(99.0))
            .beside("floor program", floor.percentile(99.0)),
        Figure::new("save-user, median", "ms", worker.median()).beside("null process", null.median()),
        Figure::new("save-user, most memory until its event is published", "MB", ours)
            .beside("floor program", beside),
    ];
    of_a_worker.into_iter().chain(statements).collect()
}

/// Servers, and customers that wait for their last user.
pub(crate) struct Stage {
    nats: Nats,
    pub(crate) database: Database,
    scratch: Scratch,
}

impl Stage {
    pub(crate) fn start() -> Self {
        let nats = Nats::start();
        nats.create_stream();
        Self { nats, database: MariaDb::shared().database().migrated(), scratch: Scratch::new("worker") }
    }

    /// Runs a program as the Job of a customer's last user; returns its wall time in milliseconds.
    pub(crate) fn save(&self, program: &str) -> f64 {
        run(&mut self.command(program))
    }

    /// The program's peak memory in megabytes, read when its event is published, because its work is done then.
    fn memory(&self, program: &str) -> f64 {
        let proxy = Proxy::before(self.nats.port());
        proxy.set(Mode::HoldAfter("HPUB"));
        let mut command = self.command(program);
        command.env("NATS_SERVER", format!("nats://127.0.0.1:{}", proxy.port()));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("a process");
        proxy.until_reached();
        let most = memory_of(child.id(), "VmHWM:");
        child.kill().and_then(|()| child.wait()).expect("its end");
        most
    }

    /// The command, for a customer that was created for it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let (customer, user) = (Uuid::new_v4(), Uuid::new_v4());
        self.database.execute(&format!(
            "INSERT INTO customers (id, name, subscription_tier, started_at, saved_at) \
             VALUES ('{customer}', 'A company', 'groovy', NOW(6), NOW(6))"
        ));
        let mut command = self.program(program);
        command.envs([
            ("CUSTOMER_ID", customer.to_string()),
            ("CUSTOMER_NAME", "A company".to_owned()),
            ("USER_ID", user.to_string()),
            ("USER_NAME", "Mara Lindqvist".to_owned()),
            ("USER_EMAIL", format!("{}@x.example", &user.simple().to_string()[..20])),
            ("USER_ROLE", "customer_account_owner".to_owned()),
            ("EVENT_ID", Uuid::new_v4().to_string()),
            ("EVENT_TIME", "2026-02-27T09:15:02Z".to_owned()),
        ]);
        command
    }

    /// A program that only gets the settings of the servers.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(binaries().join(program));
        command.env_clear().envs(self.database.settings()).envs(self.nats.settings());
        command.env("TERMINATION_LOG", self.scratch.join("termination-log"));
        command
    }

    /// Adds older customers, each with a user and its ledger entry.
    pub(crate) fn fill(&self, customers: usize) {
        if customers == 0 {
            return;
        }
        for statement in [
            "INSERT INTO customers (id, name, subscription_tier, started_at, saved_at, welcome_due_at) \
             SELECT UUID(), 'A company', 'groovy', NOW(6), NOW(6), NOW(6) FROM",
            "INSERT INTO users (id, customer_id, name, email, role, saved_at) \
             SELECT UUID(), UUID(), 'A user', UUID(), 'customer_account_owner', NOW(6) FROM",
            "INSERT INTO handled_events (step, event_id, subject, customer_id, handled_at) \
             SELECT 'save-user', UUID(), UUID(), UUID(), NOW(6) FROM",
            "INSERT INTO outbox (event_id, step, cause_id, cause_subject, position, nats_subject, payload) \
             SELECT UUID(), 'save-user', UUID(), UUID(), 0, 'welcome-email-sent', REPEAT('x', 500) FROM",
        ] {
            self.database.execute(&format!("{statement} seq_1_to_{customers}"));
        }
    }

    /// Checks that both programs have done the same: every customer has its user, its ledger entry and its event.
    pub(crate) fn check(&self) {
        let customers = self.database.count("customers");
        for table in ["customers WHERE welcome_due_at IS NOT NULL", "users", "handled_events", "outbox"] {
            assert_eq!(self.database.count(table), customers, "{table}");
        }
        assert_eq!(self.nats.events("welcome-email-sent").len(), customers, "events");
    }
}
