//! Each worker alone: success, repeat, bad input, missing configuration, servers away, stop.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use tests::database::Database;
use tests::mariadb::MariaDb;
use tests::proxy::{Mode, Proxy};
use tests::settings;
use tests::smtp::{self, Security, Smtp};
use tests::vendor;

use crate::system::distinct_mails;
use crate::worker_input::{Bench, steps};

#[test]
fn every_worker_is_done_once_and_a_repeat_changes_nothing() {
    let bench = Bench::start();
    for (step, emits) in steps() {
        let done = bench.worker(step).run_to(0);
        assert_eq!(done.report["outcome"], "done", "{step}: {}", done.report);
        assert_eq!(done.report, done.last_line(), "{step}");
        let events = bench.nats.events(emits);
        assert_eq!(events.len(), 1, "{step}");
        assert_eq!(events[0]["source"], "knapscen.disco");
        assert_eq!(events[0]["causationid"], format!("event-{step}"));
        assert_eq!(done.report["emitted"], json!([events[0]["id"]]), "{step}");
        let stored = bench.nats.stored().into_iter().find(|message| message.subject == emits).unwrap();
        assert_eq!(stored.message_id.as_deref(), events[0]["id"].as_str());

        let repeated = bench.worker(step).run_to(0);
        assert_eq!(repeated.report["outcome"], "repeated", "{step}");
        assert_eq!(repeated.report["emitted"], done.report["emitted"], "{step}");
        assert_eq!(bench.nats.events(emits).len(), 1, "{step}: the broker knows the repeat by its id");
    }
    assert_eq!(bench.smtp.mails().len(), 2);
    assert_eq!(bench.vendor.requests().len(), 3);
    assert_eq!(bench.database.count("swag_orders"), 1);
    assert_eq!(bench.database.count("touchpoints"), 1);
    assert_eq!(bench.database.count("users"), 2);
}

#[test]
fn every_worker_works_on_sqlite_too() {
    let bench = Bench::on(Database::sqlite());
    for (step, emits) in steps() {
        assert_eq!(bench.worker(step).run_to(0).report["outcome"], "done", "{step}");
        assert_eq!(bench.worker(step).run_to(0).report["outcome"], "repeated", "{step}");
        assert_eq!(bench.nats.events(emits).len(), 1, "{step}");
    }
}

#[test]
fn input_that_can_never_work_ends_with_65_and_touches_nothing() {
    let bench = Bench::start();
    let long = "x".repeat(65);
    let cases = [
        ("register-corporate-customer", "COMPANY_DATA", "not json"),
        ("register-corporate-customer", "COMPANY_DATA", r#"{"users":[]}"#),
        (
            "register-corporate-customer",
            "COMPANY_DATA",
            r#"{"users":[{"name":"A","email":"a@x.io","role":"admin_user"}]}"#,
        ),
        ("register-corporate-customer", "COMPANY_NAME", &long),
        ("register-corporate-customer", "SUBSCRIPTION_TIER", "platinum"),
        ("save-customer", "SUBSCRIPTION_TIER", "BASIC"),
        ("save-customer", "CUSTOMER_NAME", &long),
        ("save-customer", "CUSTOMER_ID", "../../etc"),
        ("save-user", "USER_EMAIL", "ann@"),
        ("save-user", "USER_ROLE", "root"),
        ("save-user", "USER_ID", "1"),
        ("send-welcome-email", "PRIMARY_EMAIL", "ann@x.example\nBcc: eve@x.example"),
        ("notify-marketing", "USER_COUNT", "many"),
        ("order-swag", "SUBSCRIPTION_TIER", "gold"),
        ("create-touchpoints", "WELCOME_OUTREACH_DATE", "soon"),
        ("save-user", "EVENT_TIME", "yesterday"),
        ("save-user", "HOP_COUNT", "32"),
    ];
    for (step, name, value) in cases {
        let ended = bench.worker(step).set(name, value).run_to(65);
        assert_eq!(ended.report["outcome"], "rejected", "{step} {name}");
        assert_eq!(ended.report["error"]["retry"], false, "{step} {name}");
    }
    assert_eq!(bench.database.count("handled_events"), 0);
    assert_eq!(bench.nats.stored().len(), 0);
    assert_eq!(bench.smtp.mails().len() + bench.vendor.requests().len(), 0);
}

#[test]
fn an_address_of_another_customers_user_is_refused() {
    let bench = Bench::start();
    bench.worker("register-corporate-customer").run_to(0);
    let other = uuid::Uuid::new_v4();
    for step in ["register-corporate-customer", "save-customer"] {
        let ended = bench.worker(step).set("CUSTOMER_ID", &other).set("EVENT_ID", "other").run_to(65);
        assert!(ended.reported("/error/message").contains("another customer"), "{}", ended.report);
    }
    assert_eq!(bench.database.count(&format!("customers WHERE id = '{other}'")), 0, "nothing of it stays");
}

#[test]
fn another_company_cannot_take_over_a_customer() {
    let bench = Bench::start();
    bench.worker("register-corporate-customer").run_to(0);
    let other = r#"{"name":"Other","subscription_tier":"far-out","users":[{"name":"Eve","email":"eve@x.example","role":"customer_account_owner"}]}"#;
    for (step, data) in [("register-corporate-customer", "COMPANY_DATA"), ("save-customer", "CUSTOMER_DATA")]
    {
        let program = bench.worker(step).set(data, other).set("EVENT_ID", "other");
        let program = program.set("COMPANY_NAME", "Other").set("CUSTOMER_NAME", "Other");
        let ended = program.run_to(65);
        assert!(ended.reported("/error/message").contains("under another name"), "{}", ended.report);
    }
    assert_eq!(bench.database.count("users WHERE email = 'eve@x.example'"), 0, "nothing of it stays");
    assert_eq!(bench.database.count("customers WHERE name = 'TechCorp'"), 2);
    // Registering the same company again is harmless.
    bench.worker("register-corporate-customer").set("EVENT_ID", "again").run_to(0);
}

#[test]
fn missing_or_wrong_configuration_ends_with_78_and_is_named() {
    let bench = Bench::start();
    let cases = [
        ("save-user", vec!["USER_EMAIL"], "USER_EMAIL is not set"),
        ("save-user", vec!["DB_HOST"], "DB_HOST is not set"),
        ("save-user", vec!["NATS_SERVER"], "neither NATS_SERVER nor K_SINK"),
        ("send-welcome-email", vec!["SMTP_SERVER"], "SMTP_SERVER is not set"),
        (
            "notify-marketing",
            vec!["MARKETING_EMAIL", "MARKETING_WEBHOOK_URL"],
            "neither MARKETING_WEBHOOK_URL nor",
        ),
        ("order-swag", vec!["SWAG_API_URL"], "SWAG_API_URL is not set"),
    ];
    for (step, missing, message) in cases {
        let program = missing.iter().fold(bench.worker(step), |program, name| program.without(name));
        let ended = program.run_to(78);
        assert!(ended.reported("/error/message").contains(message), "{step}: {}", ended.report);
    }
    let wrong = [
        ("DB_PORT", "hunter2"),
        ("DB_PASSWORD", "hunter2"),
        ("NATS_SUBJECT", "user-saved"),
        ("DB_TLS", "hunter2"),
    ];
    for (name, value) in wrong {
        let ended = bench.worker("save-user").set(name, value).run_to(78);
        assert!(!ended.output.contains("hunter2"), "{name}: {}", ended.output);
    }
}

#[test]
fn a_worker_needs_only_the_keys_that_it_uses() {
    let bench = Bench::start();
    bench.worker("save-customer").without("CUSTOMER_DATA").without("EVENT_TIME").run_to(0);
    bench.worker("order-swag").without("SHIPPING_ADDRESS").without("SWAG_API_URL").run_to(0);
    assert_eq!(bench.database.count("swag_orders WHERE status = 'waiting_for_address'"), 1);
    bench.worker("create-touchpoints").without("CRM_API_URL").without("WELCOME_OUTREACH_DATE").run_to(0);
    assert_eq!(bench.vendor.requests().len(), 0);
    // The address comes later, with another event.
    bench.worker("order-swag").set("EVENT_ID", "later").run_to(0);
    assert_eq!(bench.database.count("swag_orders WHERE status = 'ordered'"), 1);
    assert_eq!(bench.database.count("swag_orders"), 1);
}

#[test]
fn a_server_that_is_away_ends_with_75_and_nothing_is_half_done() {
    let bench = Bench::start();
    let closed = tests::port::free().to_string();
    let cases = [
        ("save-user", "DB_PORT", closed.clone()),
        ("save-user", "NATS_SERVER", format!("nats://127.0.0.1:{closed}")),
        ("send-welcome-email", "NATS_SERVER", format!("nats://127.0.0.1:{closed}")),
        ("send-welcome-email", "SMTP_PORT", closed.clone()),
        ("order-swag", "SWAG_API_URL", format!("http://127.0.0.1:{closed}/orders")),
        ("save-user", "NATS_STREAM", "other".to_owned()),
    ];
    for (step, name, value) in cases {
        let ended = bench.worker(step).set(name, &value).run();
        let expected = if name == "NATS_STREAM" { 78 } else { 75 };
        ended.expect_code(expected);
    }
    assert_eq!(bench.smtp.mails().len(), 0, "no mail goes out while the broker is away");
    let modes = [500, 503, 429].map(vendor::Mode::Status);
    for mode in modes.into_iter().chain([vendor::Mode::Cut, vendor::Mode::Garbage]) {
        bench.vendor.set(mode);
        let ended = bench.worker("order-swag").run_to(75);
        assert!(!ended.output.contains("hunter2"), "{}", ended.output);
    }
    bench.vendor.set(vendor::Mode::Status(422));
    bench.worker("order-swag").run_to(65);
    bench.smtp.set(smtp::Mode::Refuse4xx);
    bench.worker("send-welcome-email").run_to(75);
    bench.smtp.set(smtp::Mode::Refuse5xx);
    bench.worker("send-welcome-email").run_to(65);
    assert_eq!(bench.database.count("handled_events WHERE step <> 'save-user'"), 0);
    assert_eq!(bench.nats.stored().len(), 0);
}

#[test]
fn sigterm_in_mid_step_ends_with_75_and_the_repeat_is_whole() {
    let bench = Bench::start();
    bench.vendor.set(vendor::Mode::Hang);
    let running = bench.worker("order-swag").set("STOP_GRACE_SECONDS", "1").start();
    bench.vendor.until_requests(1);
    let ended = running.terminate();
    ended.expect_code(75);
    assert_eq!(ended.report["outcome"], "stopped");
    assert!(ended.took < Duration::from_secs(20));

    let proxy = Proxy::before(bench.nats.port());
    proxy.set(Mode::Silent);
    let running =
        bench.worker("save-user").set("NATS_SERVER", &format!("nats://127.0.0.1:{}", proxy.port())).start();
    bench.vendor.set(vendor::Mode::Ok);
    bench.worker("order-swag").run_to(0);
    running.terminate().expect_code(75);
    bench.worker("save-user").run_to(0);
    assert_eq!(bench.nats.events("welcome-email-sent").len(), 1);
}

#[test]
fn a_worker_gives_up_at_its_time_limit() {
    let bench = Bench::start();
    bench.vendor.set(vendor::Mode::Hang);
    let ended = bench.worker("order-swag").set("STEP_TIMEOUT_SECONDS", "1").run_to(75);
    assert!(ended.reported("/error/message").contains("STEP_TIMEOUT_SECONDS"), "{}", ended.report);
}

#[test]
fn three_users_saved_at_once_give_exactly_one_welcome() {
    for round in 0..3 {
        let bench = Bench::start();
        let users: Vec<_> =
            ["customer_account_owner", "admin_user", "generic_user"].into_iter().enumerate().collect();
        let list: Vec<_> = users
            .iter()
            .map(|(n, role)| json!({"name": format!("U{n}"), "email": format!("u{n}@x.example"), "role": role}))
            .collect();
        let saved = bench.worker("save-customer").set("CUSTOMER_ID", &bench.customer);
        saved.set("CUSTOMER_DATA", &json!({"users": list}).to_string()).run_to(0);
        let running: Vec<_> = users
            .iter()
            .map(|(n, role)| {
                let worker =
                    bench.worker("save-user").without("USER_ID").set("EVENT_ID", &format!("user-{n}"));
                worker
                    .set("USER_EMAIL", &format!("u{n}@x.example"))
                    .set("USER_NAME", "U")
                    .set("USER_ROLE", role)
                    .start()
            })
            .collect();
        for worker in running {
            worker.wait().expect_code(0);
        }
        assert_eq!(bench.nats.events("welcome-email-sent").len(), 1, "round {round}");
        assert_eq!(bench.database.count("users WHERE saved_at IS NOT NULL"), 3);
    }
}

#[test]
fn mail_goes_out_over_every_kind_of_tls_with_login() {
    let bench = Bench::start();
    for (number, security) in [Security::Plain, Security::StartTls, Security::Tls].into_iter().enumerate() {
        let smtp = Smtp::start_with(security, Some(("user", "hunter2")));
        let worker = bench.worker("send-welcome-email").settings(smtp.settings());
        worker.clone().set("EVENT_ID", &format!("mail-{number}")).run_to(0);
        assert_eq!(distinct_mails(&smtp), 1, "{security:?}");
        assert!(smtp.mails()[0].html.as_deref().unwrap_or_default().contains("TechCorp"));
        let refused = worker.set("EVENT_ID", "wrong").set("SMTP_PASS", "wrong-secret").run_to(78);
        assert!(!refused.output.contains("wrong-secret"), "{}", refused.output);
        if security != Security::Plain {
            // A certificate of an unknown authority.
            bench
                .worker("send-welcome-email")
                .settings(smtp.settings())
                .without("SMTP_CA")
                .set("EVENT_ID", "ca")
                .run_to(78);
        }
    }
}

#[test]
fn tls_on_a_plain_port_and_the_reverse_are_said_so() {
    let bench = Bench::start();
    for (security, asked, said) in [
        (Security::Plain, "tls", "does not speak TLS on this port: set SMTP_TLS to starttls or none"),
        (Security::Tls, "none", "speaks TLS from the first byte on this port: set SMTP_TLS=tls"),
        (Security::Plain, "starttls", "offers no STARTTLS"),
    ] {
        let smtp = Smtp::start_with(security, None);
        let worker = bench.worker("send-welcome-email").settings(smtp.settings());
        let ended = worker.set("EVENT_ID", "port").set("SMTP_TLS", asked).run_to(78);
        assert!(ended.output.contains(said), "{}", ended.output);
    }
}

/// A server that says this, reading up to so many bytes after each, and ends the connection when TLS begins: with a reset, or only
/// with an end.
fn breaking_off(said: &[(Vec<u8>, usize)], resets: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, said) = (listener.local_addr().unwrap().port(), said.to_vec());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            for (bytes, room) in &said {
                let _ = stream.write_all(bytes); // whoever asks may be gone
                let _ = stream.read(&mut vec![0; *room]);
            }
            let _ = stream.peek(&mut [0; 9]);
            // The kernel resets a connection that is closed before everything was read.
            if !resets {
                let _ = stream.read(&mut [0; 4096]);
            }
        }
    });
    port
}

/// How MySQL 8 begins to talk to a client that may ask for TLS.
fn mysql_greeting() -> Vec<u8> {
    // TLS, protocol 4.1, and how to log in.
    let [a, b, c, d] = 0x000b_aa09_u32.to_le_bytes();
    let parts: [&[u8]; 5] = [
        b"\x0a8.0.36\0\x07\0\0\x0012345678\0",
        &[a, b, 0x2d, 2, 0, c, d, 21],
        &[0; 10],
        b"123456789012\0",
        b"caching_sha2_password\0",
    ];
    let body = parts.concat();
    [&[u8::try_from(body.len()).unwrap(), 0, 0, 0], body.as_slice()].concat()
}

#[test]
fn a_server_that_breaks_off_a_tls_handshake_is_a_fault_of_the_moment() {
    let bench = Bench::start();
    let say = |text: &str, room| (text.as_bytes().to_vec(), room);
    let info = r#"{"server_id":"X","version":"2.11.0","proto":1,"headers":true,"tls_required":true,"max_payload":1048576}"#;
    let nats = [say(&format!("INFO {info}\r\n"), 0)];
    let starttls = [say("220 x\r\n", 99), say("250-x\r\n250 STARTTLS\r\n", 99), say("220 go on\r\n", 0)];
    let mysql = [(mysql_greeting(), 36)];
    for resets in [true, false] {
        let port = |said: &[(Vec<u8>, usize)]| breaking_off(said, resets).to_string();
        let nats_at = |said| format!("nats://127.0.0.1:{}", port(said));
        for (step, name, value, more) in [
            ("order-swag", "SWAG_API_URL", format!("https://127.0.0.1:{}/", port(&[])), None),
            ("send-welcome-email", "SMTP_PORT", port(&[]), Some(("SMTP_TLS", "tls"))),
            ("send-welcome-email", "SMTP_PORT", port(&starttls), Some(("SMTP_TLS", "starttls"))),
            ("save-user", "DB_PORT", port(&mysql), Some(("DB_TLS", "required"))),
            ("save-user", "NATS_SERVER", nats_at(&nats), None),
            ("save-user", "NATS_SERVER", nats_at(&[]), Some(("NATS_TLS_FIRST", "true"))),
        ] {
            let worker = bench.worker(step).set("EVENT_ID", "handshake").set(name, &value);
            let ended = more.iter().fold(worker, |worker, (name, value)| worker.set(name, value)).run_to(75);
            let said = ended.reported("/error/message");
            let words = if resets { "reset by peer" } else { "eof" };
            assert!(said.contains(words) || said.contains("end of file"), "{step} {name}={value}: {said}");
        }
    }
}

#[test]
fn the_database_is_reached_over_tls() {
    let server = MariaDb::start_with_tls();
    let bench = Bench::on(server.database());
    bench.worker("save-user").settings(settings([("DB_TLS", "required")])).run_to(0);
    assert_eq!(bench.nats.events("welcome-email-sent").len(), 1);
}

#[test]
fn a_worker_teaches_and_refuses_arguments() {
    for (step, _) in steps() {
        let help = tests::program::Program::worker(step).argument("--help").run_to(0);
        assert!(help.output.contains("SUBSCRIPTION_TIER") || step == "save-user", "{}", help.output);
        assert!(help.output.contains("Exit codes"), "{}", help.output);
        tests::program::Program::worker(step).argument("--frobnicate").run_to(78);
    }
}
