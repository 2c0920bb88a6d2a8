//! Tests of the harness: what it starts answers, what it breaks is broken, and nothing is left.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use tests::client::publish_without_headers;
use tests::database::Database;
use tests::http;
use tests::mariadb::MariaDb;
use tests::nats::Nats;
use tests::proxy::{self, Proxy};
use tests::smtp::{Security, Smtp};
use tests::vendor::{self, Vendor};
use tests::wait;

#[test]
fn a_stopped_nats_server_comes_back_with_its_stream() {
    let mut nats = Nats::start_with_login("dispatcher", "secret");
    nats.create_stream();
    nats.publish("user-saved", &json!({"id": "1"}));
    nats.stop();
    nats.start_again();
    nats.publish("user-saved", &json!({"id": "2"}));
    assert_eq!(nats.events("user-saved"), [json!({"id": "1"}), json!({"id": "2"})]);
}

#[test]
fn a_foreign_client_publishes_without_headers() {
    let nats = Nats::start();
    nats.create_stream();
    publish_without_headers(&nats, "customer-saved", &json!({"id": "test-event-001"}));
    nats.until_events("customer-saved", 1);
    assert_eq!(nats.stored()[0].message_id, None);
}

#[test]
fn a_stopped_mariadb_comes_back_with_its_rows() {
    let mut server = MariaDb::start();
    let database = server.database();
    database.execute("CREATE TABLE t (n INT, d DATETIME)");
    database.execute("INSERT INTO t VALUES (7, '2026-01-02 03:04:05'), (8, NULL)");
    server.stop();
    server.start_again();
    assert_eq!(database.count("t"), 2);
    assert_eq!(database.rows("SELECT n, d FROM t WHERE d IS NOT NULL")[0]["d"], "2026-01-02 03:04:05");
}

#[test]
fn tests_on_the_shared_mariadb_do_not_see_each_other() {
    let (one, other) = (MariaDb::shared().database(), MariaDb::shared().database());
    one.execute("CREATE TABLE t (n INT)");
    other.execute("CREATE TABLE t (n INT)");
    other.execute("INSERT INTO t VALUES (1)");
    assert_eq!((one.count("t"), other.count("t")), (0, 1));
}

#[test]
fn sqlite_values_read_as_text() {
    let database = Database::sqlite();
    database.hold("PRAGMA user_version = 0");
    assert_eq!(database.text("SELECT 42 AS n"), "42");
}

#[test]
fn the_smtp_server_talks_in_each_security() {
    for security in [Security::Plain, Security::StartTls, Security::Tls] {
        let mut server = Smtp::start_with(security, Some(("user", "password")));
        server.stop();
        server.start_again();
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        let hello: &[u8] = if security == Security::Tls { b"GET / HTTP/1.0\r\n\r\n" } else { b"QUIT\r\n" };
        stream.write_all(hello).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer.starts_with(b"220 "), security != Security::Tls);
    }
}

#[test]
fn the_vendor_takes_an_order_once_per_key() {
    let vendor = Vendor::start();
    let order = |key: &str| {
        let headers = [("Idempotency-Key", key)];
        http::request(Duration::from_millis(500), vendor.port(), "POST", "/orders", &headers, b"{}")
    };
    assert_eq!(order("a").unwrap().status, 201);
    assert_eq!(order("a").unwrap().status, 201);
    vendor.set(vendor::Mode::Status(429));
    assert_eq!(order("b").unwrap().status, 429);
    vendor.set(vendor::Mode::Cut);
    assert!(order("c").is_err());
    vendor.set(vendor::Mode::Hang);
    assert!(order("d").is_err());
    assert_eq!(vendor.requests().len(), 5);
    assert_eq!(vendor.orders().len(), 1);
}

#[test]
fn the_proxy_holds_a_client_before_or_after_its_words() {
    let vendor = Vendor::start();
    let proxy = Proxy::before(vendor.port());
    for (mode, requests) in [(proxy::Mode::HoldBefore("BODY"), 0), (proxy::Mode::HoldAfter("BODY"), 1)] {
        proxy.set(mode);
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nBO").unwrap();
        stream.write_all(b"DY").unwrap();
        proxy.until_reached();
        assert_eq!(vendor.requests().len(), requests);
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(stream.read(&mut [0; 10]).is_err(), "an answer came through");
    }
    // A refusal also ends open connections, even if it is short.
    proxy.set(proxy::Mode::HoldBefore("BODY"));
    let mut held = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    held.write_all(b"BODY").unwrap();
    proxy.until_reached();
    proxy.set(proxy::Mode::Refuse);
    proxy.set(proxy::Mode::Pass);
    held.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let cut = held.read(&mut [0; 10]);
    assert!(
        cut.as_ref().map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |read| *read == 0),
        "{cut:?}"
    );
    proxy.set(proxy::Mode::Refuse);
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    assert!(matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_)));
}

#[test]
fn the_proxy_holds_a_client_before_or_after_its_statement_is_carried_out() {
    let database = MariaDb::shared().database();
    database.execute("CREATE TABLE held (id INT)");
    let port = database.settings().into_iter().find(|(name, _)| name == "DB_PORT").unwrap().1;
    let proxy = Proxy::before(port.parse().unwrap());
    for (mode, carried_out) in
        [(proxy::Mode::HoldBefore("INSERT INTO held"), 0), (proxy::Mode::HoldAfter("INSERT INTO held"), 1)]
    {
        proxy.set(mode.clone());
        let settings = database.settings_through(proxy.port());
        let insert = std::thread::spawn(move || insert(&settings));
        proxy.until_reached();
        assert_eq!(database.count("held"), carried_out, "{mode:?}");
        proxy.set(proxy::Mode::Refuse);
        insert.join().unwrap().unwrap_err();
    }
}

/// As in a worker.
fn insert(settings: &[tests::Setting]) -> Result<(), sqlx::Error> {
    let setting = |name: &str| settings.iter().find(|(known, _)| known == name).unwrap().1.as_str();
    let options = sqlx::mysql::MySqlConnectOptions::new()
        .host("127.0.0.1")
        .port(setting("DB_PORT").parse().unwrap())
        .username(setting("DB_USER"))
        .password(setting("DB_PASSWORD"))
        .database(setting("DB_NAME"));
    tests::block_on(async {
        let mut connection = sqlx::ConnectOptions::connect(&options).await?;
        let insert = sqlx::raw_sql("INSERT INTO held (id) VALUES (1)");
        insert.execute(&mut connection).await.map(drop)
    })
}

#[test]
fn a_paused_server_answers_again_after_its_pause() {
    let nats = Nats::start();
    nats.create_stream();
    nats.pause();
    let silent = wait::within(Duration::from_millis(200), || {
        let mut stream = TcpStream::connect(("127.0.0.1", nats.port())).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
        stream.read(&mut [0; 4]).ok()
    });
    assert_eq!(silent, None);
    nats.resume();
    nats.publish("user-saved", &json!({}));
}
