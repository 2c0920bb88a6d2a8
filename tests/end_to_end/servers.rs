//! The servers that people use: MySQL as well as MariaDB, older and newer versions, and unusual settings.

use tests::authority::Authority;
use tests::database::Database;
use tests::mariadb::{MariaDb, Product};
use tests::nats::Nats;
use tests::program::Program;
use uuid::Uuid;

use crate::system::{System, registration};

/// The versions that this test has seen, as `docs` names them. Change both together.
const TESTED: [(&str, &str); 4] =
    [("mysql", "9.7"), ("mariadb-11.8", "11.8"), ("nats-2.10", "2.10.25"), ("nats-2.15", "2.15.1")];

fn flow(server: &MariaDb, nats: Nats) {
    let system = System { nats, ..System::on(server) };
    let dispatcher = system.dispatcher();
    for number in 0..3 {
        system.publish(&registration(&format!("Café 💥 {number}")));
    }
    system.until_onboarded(3);
    system.check_books(3);
    assert_eq!(system.database.count("customers WHERE name LIKE 'Café 💥 %'"), 3);
    dispatcher.running.terminate().expect_code(0);
}

#[test]
fn the_whole_flow_runs_on_mysql_and_the_oldest_nats() {
    flow(MariaDb::mysql(), Nats::start_version("nats-2.10"));
}

#[test]
fn the_whole_flow_runs_on_the_next_mariadb_and_the_newest_nats() {
    flow(&MariaDb::start_with(Product::MariaDb118, false, &[]), Nats::start_version("nats-2.15"));
}

#[test]
fn the_documents_list_the_versions_that_are_tested() {
    let page = include_str!("../../dispatcher/docs/compatibility.md");
    for (name, version) in TESTED {
        let shown = page.lines().any(|line| line.starts_with('|') && line.contains(version));
        assert!(shown, "compatibility.md lists no {name} {version}");
    }
}

fn worker(database: &Database, nats: &Nats, more: &[(&str, &str)]) -> Program {
    let program = Program::worker("save-user").settings(database.settings()).settings(nats.settings());
    let event = Uuid::new_v4().to_string();
    let user = [
        ("EVENT_ID", event.as_str()),
        ("CUSTOMER_NAME", "TechCorp"),
        ("SUBSCRIPTION_TIER", "groovy"),
        ("USER_NAME", "Ann"),
        ("USER_EMAIL", "ann@x.example"),
        ("USER_ROLE", "generic_user"),
    ];
    user.iter().chain(more).fold(program, |program, (name, value)| program.set(name, value))
}

#[test]
fn every_mode_of_tls_reaches_mysql_and_only_an_authority_that_signed_is_believed() {
    let (database, nats) = (MariaDb::mysql().database().migrated(), Nats::start());
    nats.create_stream();
    let foreign = Authority::new();
    let (ours, foreign) = (Authority::shared().certificate(), foreign.certificate());
    let (ours, foreign) = (ours.to_str().expect("a path"), foreign.to_str().expect("a path"));
    for (mode, ca, host, code) in [
        ("disabled", "", "127.0.0.1", 0),
        ("preferred", "", "127.0.0.1", 0),
        ("required", "", "127.0.0.1", 0),
        ("verify-ca", ours, "127.0.0.1", 0),
        ("verify-identity", ours, "localhost", 0),
        ("", ours, "127.0.0.1", 0),
        ("", foreign, "127.0.0.1", 78),
        ("verify-ca", foreign, "127.0.0.1", 78),
        ("verify-ca", "", "127.0.0.1", 78),
        ("verify-identity", "", "localhost", 78),
        ("verify-ca", "/nowhere/ca.pem", "127.0.0.1", 78),
    ] {
        let ended =
            worker(&database, &nats, &[("DB_TLS", mode), ("DB_CA", ca), ("DB_HOST", host)]).run_to(code);
        assert!(code == 0 || ended.output.contains("DB_CA"), "{mode} {ca}: {}", ended.output);
    }
}

#[test]
fn what_the_database_refuses_is_told_from_a_database_that_is_away() {
    let nats = Nats::start();
    nats.create_stream();
    for server in [MariaDb::shared(), MariaDb::mysql()] {
        let database = server.database().migrated();
        for (name, value, code, said) in [
            ("DB_PASSWORD", "wrong", 78, "refuses the connection: user or password is refused"),
            ("DB_NAME", "nowhere", 78, "DB_NAME"),
            ("DB_HOST", "127.0.0.1:1", 78, "DB_PORT says"),
            ("DB_PORT", "1", 75, "cannot reach the database"),
        ] {
            let ended = worker(&database, &nats, &[(name, value)]).run_to(code);
            assert!(ended.output.contains(said), "{name}: {}", ended.output);
        }
    }
}

#[test]
fn what_was_written_is_read_whatever_character_set_mode_and_engine_the_server_prefers() {
    let nats = Nats::start();
    nats.create_stream();
    let server = MariaDb::start_with(
        Product::MariaDb,
        false,
        &[
            "--skip-character-set-client-handshake",
            "--character-set-server=utf8mb3",
            "--default-storage-engine=MyISAM",
            "--sql-mode=ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES",
            "--autocommit=0",
            "--default-time-zone=+05:30",
        ],
    );
    let database = server.database().migrated();
    let engines = "information_schema.tables WHERE table_schema = DATABASE() AND engine <> 'InnoDB'";
    assert_eq!(database.count(engines), 0);
    let customer = Uuid::new_v4().to_string();
    let users = r#"[{"name":"Zoë 😀","email":"z@example.com","role":"customer_account_owner"}]"#;
    let company = format!(r#"{{"name":"Disco 😀 Ltd","subscription_tier":"groovy","users":{users}}}"#);
    let register = || {
        let program = Program::worker("register-corporate-customer").settings(database.settings());
        let program = program.settings(nats.settings()).set("EVENT_ID", "e1").set("CUSTOMER_ID", &customer);
        program.set("COMPANY_DATA", &company).run_to(0);
    };
    register();
    register();
    let events = nats.events("customer-saved");
    assert!(!events.is_empty());
    for event in &events {
        assert_eq!(
            (&event["data"]["name"], &event["data"]["users"][0]["name"]),
            (&"Disco 😀 Ltd".into(), &"Zoë 😀".into())
        );
    }
    let save = Program::worker("save-customer").settings(database.settings()).settings(nats.settings());
    let save = save.set("EVENT_ID", "e2").set("CUSTOMER_ID", &customer).set("CUSTOMER_NAME", "Disco 😀 Ltd");
    save.set("SUBSCRIPTION_TIER", "groovy")
        .set("CUSTOMER_DATA", &format!(r#"{{"users":{users}}}"#))
        .run_to(0);
    assert_eq!(database.count("customers WHERE saved_at IS NOT NULL"), 1);
}

#[test]
fn tables_of_another_engine_or_collation_are_repaired_by_a_migration() {
    for server in [MariaDb::shared(), MariaDb::mysql()] {
        let database = server.database().migrated();
        database.execute("ALTER TABLE sent_mails ENGINE = MyISAM");
        database
            .execute("ALTER TABLE touchpoints CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci");
        let again = Program::dispatcher().argument("migrate").settings(database.settings()).run_to(0).output;
        assert!(again.contains("sent_mails: it had engine MyISAM"), "{again}");
        assert!(again.contains("touchpoints: it had collation utf8mb4_general_ci"), "{again}");
        let again = Program::dispatcher().argument("migrate").settings(database.settings()).run_to(0).output;
        assert!(again.contains("up to date") && !again.contains("it had"), "{again}");
    }
}

#[test]
fn a_database_of_every_earlier_version_is_brought_up_to_date() {
    let migrate =
        |database: &Database| Program::dispatcher().argument("migrate").settings(database.settings());
    let newest = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/migrations/mysql"));
    let newest = i64::try_from(newest.expect("migrations").count()).expect("a small number");
    for server in [MariaDb::shared(), MariaDb::mysql()] {
        for known in 1..newest {
            let database = server.database().migrated_to(known);
            let id = Uuid::new_v4();
            database.execute(&format!(
                "INSERT INTO customers (id, name, subscription_tier, started_at) VALUES ('{id}', 'Old 💥', 'basic', '2026-01-01')"
            ));
            let done = migrate(&database).run_to(0).output;
            assert!(done.contains(&format!("{} migrations applied", newest - known)), "{known}: {done}");
            assert_eq!(database.count(&format!("customers WHERE id = '{id}' AND name = 'Old 💥'")), 1);
            migrate(&database).argument("--check").run_to(0);
        }
    }
}
