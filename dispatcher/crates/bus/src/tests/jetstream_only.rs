//! What only `JetStream` has: credentials, TLS, a stream that others configure, a server that comes and goes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::Utc;
use futures_util::StreamExt;

use super::server::Server;
use super::test_bus::{LEASE, SUBJECT, TestBus, fetch_one, message, text};
use crate::settings::Secret;
use crate::{Access, Bus, Error, Filter, Message, Settings};
use job::FailureClass;
use shared::nats::DEFAULT_STREAM;

fn subjects() -> BTreeSet<String> {
    BTreeSet::from([SUBJECT.to_owned()])
}

async fn context(server: &Server) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.address()).await.unwrap())
}

#[tokio::test]
async fn the_stream_is_created_as_the_contract_says() {
    let test_bus = TestBus::jetstream().await;
    let bus = test_bus.open().await;
    let TestBus::JetStream(server) = &test_bus else { unreachable!() };
    let info = context(server).await.get_stream(DEFAULT_STREAM).await.unwrap().get_info().await.unwrap();
    assert_eq!(info.config.retention, jetstream::stream::RetentionPolicy::Limits);
    assert_eq!(info.config.storage, jetstream::stream::StorageType::File);
    assert!(info.config.duplicate_window >= Duration::from_mins(2));
    assert!(bus.fetch(SUBJECT, 1).await.unwrap().is_empty());
    let stream = context(server).await.get_stream(DEFAULT_STREAM).await.unwrap();
    let consumer = stream.consumer_info("dispatcher-item-registered").await.unwrap();
    assert_eq!(consumer.config.ack_policy, jetstream::consumer::AckPolicy::Explicit);
    assert_eq!(consumer.config.deliver_policy, jetstream::consumer::DeliverPolicy::All);
    assert_eq!((consumer.config.max_deliver, consumer.config.ack_wait), (-1, LEASE));
    assert_eq!(consumer.config.filter_subject, SUBJECT);
}

#[tokio::test]
async fn settings_of_an_operator_survive() {
    let server = Server::start();
    let context = context(&server).await;
    let config = jetstream::stream::Config {
        name: DEFAULT_STREAM.to_owned(),
        subjects: vec!["item-*".to_owned(), "item-saved".to_owned(), "mine.>".to_owned()],
        description: Some("ours".to_owned()),
        max_age: Duration::from_hours(1000),
        ..Default::default()
    };
    let mut config = config;
    config.subjects = vec!["item-saved".to_owned(), "mine.>".to_owned()];
    context.create_stream(config).await.unwrap();
    let bus = Bus::open(&Settings::jetstream(server.address()), Access::Consume).await.unwrap();
    let more = ["item-saved", "mine.own", "item-registered"].map(str::to_owned);
    bus.ensure_subjects(&BTreeSet::from(more)).await.unwrap();
    assert_eq!(bus.subjects().await.unwrap(), ["item-registered", "item-saved", "mine.>"]);
    let info = context.get_stream(DEFAULT_STREAM).await.unwrap().get_info().await.unwrap();
    assert_eq!(info.config.description.as_deref(), Some("ours"));
    assert_eq!(info.config.max_age, Duration::from_hours(1000));
}

#[tokio::test]
async fn a_stream_that_cannot_work_is_refused_with_the_setting_and_the_remedy() {
    let server = Server::start();
    let config = jetstream::stream::Config {
        name: DEFAULT_STREAM.to_owned(),
        subjects: vec!["item-saved".to_owned()],
        retention: jetstream::stream::RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    context(&server).await.create_stream(config).await.unwrap();
    let error = Bus::open(&Settings::jetstream(server.address()), Access::Consume).await.unwrap_err();
    assert!(!error.try_again());
    assert!(error.to_string().contains("retention") && error.to_string().contains("NATS_STREAM"), "{error}");
}

#[tokio::test]
async fn a_subject_of_another_stream_is_an_error_that_says_so() {
    let server = Server::start();
    let config = jetstream::stream::Config {
        name: "other".to_owned(),
        subjects: vec!["item-registered".to_owned()],
        ..Default::default()
    };
    context(&server).await.create_stream(config).await.unwrap();
    let bus = Bus::open(&Settings::jetstream(server.address()), Access::Consume).await.unwrap();
    for subjects in [subjects(), BTreeSet::from(["item-saved".to_owned()]), subjects()] {
        let result = bus.ensure_subjects(&subjects).await;
        if subjects.contains(SUBJECT) {
            let error = result.unwrap_err();
            assert!(!error.try_again() && error.to_string().contains("another stream"), "{error}");
        } else {
            result.unwrap();
        }
    }
}

#[tokio::test]
async fn a_consumer_that_is_not_ours_is_refused() {
    let test_bus = TestBus::jetstream().await;
    let bus = test_bus.open().await;
    let TestBus::JetStream(server) = &test_bus else { unreachable!() };
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("dispatcher-item-registered".to_owned()),
        ack_policy: jetstream::consumer::AckPolicy::None,
        filter_subject: SUBJECT.to_owned(),
        ..Default::default()
    };
    let stream = context(server).await.get_stream(DEFAULT_STREAM).await.unwrap();
    stream.create_consumer(config).await.unwrap();
    let error = bus.fetch(SUBJECT, 1).await.unwrap_err();
    assert!(!error.try_again() && error.to_string().contains("ack_policy"), "{error}");
}

#[tokio::test]
async fn a_consumer_of_an_older_version_gets_the_lease_of_the_settings() {
    let test_bus = TestBus::jetstream().await;
    let bus = test_bus.open().await;
    let TestBus::JetStream(server) = &test_bus else { unreachable!() };
    let stream = context(server).await.get_stream(DEFAULT_STREAM).await.unwrap();
    let old = jetstream::consumer::pull::Config {
        durable_name: Some("dispatcher-item-registered".to_owned()),
        description: Some("mine".to_owned()),
        filter_subject: SUBJECT.to_owned(),
        ack_wait: Duration::from_secs(30),
        max_ack_pending: 10_000,
        ..Default::default()
    };
    stream.create_consumer(old).await.unwrap();
    bus.publish(message("one")).await.unwrap();
    assert_eq!(fetch_one(&bus).await.lease, LEASE);
    let config = stream.consumer_info("dispatcher-item-registered").await.unwrap().config;
    assert_eq!((config.ack_wait, config.description.as_deref()), (LEASE, Some("mine")));
    assert!(config.max_ack_pending > 10_000);
    // It comes again after the new lease.
    assert_eq!(fetch_one(&bus).await.delivery_count, 2);
}

#[tokio::test]
async fn the_backlog_of_a_stream_older_than_the_dispatcher_is_delivered() {
    let server = Server::start();
    let context = context(&server).await;
    let config = jetstream::stream::Config {
        name: DEFAULT_STREAM.to_owned(),
        subjects: vec![SUBJECT.to_owned()],
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    context.publish(SUBJECT, "early".into()).await.unwrap().await.unwrap();
    let bus = Bus::open(&Settings::jetstream(server.address()), Access::Consume).await.unwrap();
    bus.ensure_subjects(&subjects()).await.unwrap();
    assert_eq!(text(&fetch_one(&bus).await), "early");
}

#[tokio::test]
async fn the_start_waits_for_the_server_and_says_when_it_gives_up() {
    let mut server = Server::start();
    server.stop();
    let settings = Settings {
        nats_connect_timeout: Duration::from_secs(1),
        nats_server: Secret::from(format!("nats://someone:s3cret@{}", server.address())),
        ..Settings::default()
    };
    let error = Bus::open(&settings, Access::Consume).await.unwrap_err();
    assert!(error.try_again() && error.to_string().contains(&server.address()), "{error}");
    assert!(!error.to_string().contains("s3cret") && !format!("{settings:?}").contains("s3cret"));
    let waiting = tokio::spawn(async move {
        Bus::open(&Settings { nats_connect_timeout: Duration::from_secs(20), ..settings }, Access::Consume)
            .await
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.run();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn user_password_and_token_are_used_and_never_shown() {
    let server = Server::start_with("authorization { user: dispatcher, password: \"s3cret word\" }");
    let open = async |settings: &Settings| Bus::open(settings, Access::Consume).await;
    let none = Settings::jetstream(server.address());
    let error = open(&none).await.unwrap_err();
    assert!(matches!(&error, Error::Configuration(text) if text.contains("NATS_USER")), "{error:?}");
    let wrong = Settings {
        nats_user: Some("dispatcher".to_owned()),
        nats_password: Some(Secret::from("wr0ng".to_owned())),
        ..none.clone()
    };
    let error = open(&wrong).await.unwrap_err();
    assert!(matches!(&error, Error::Configuration(text) if text.contains("NATS_PASSWORD")), "{error:?}");
    assert!(!format!("{error:?} {wrong:?}").contains("wr0ng"));
    let right = Settings { nats_password: Some(Secret::from("s3cret word".to_owned())), ..wrong };
    open(&right).await.unwrap().ensure_subjects(&subjects()).await.unwrap();

    let server = Server::start_with("authorization { token: \"t0ken\" }");
    let right = Settings {
        nats_token: Some(Secret::from("t0ken".to_owned())),
        ..Settings::jetstream(server.address())
    };
    open(&right).await.unwrap();
}

/// The Secret `sveltos-nats` in a file, with this login.
fn sveltos_nats(folder: &Path, server: &Server, login: &serde_json::Value) -> Settings {
    let streams = serde_json::json!([{"name": "orders", "subjects": ["order-made"]}]);
    sveltos_nats_with(folder, server, &serde_json::json!({"authorization": login, "streams": streams}))
}

fn sveltos_nats_with(folder: &Path, server: &Server, fields: &serde_json::Value) -> Settings {
    let mut configuration = fields.clone();
    configuration["url"] = server.address().into();
    let path = folder.join("sveltos-nats.json");
    std::fs::write(&path, serde_json::json!({"jetstream": {"configuration": configuration}}).to_string())
        .unwrap();
    let nats_connect_timeout = Duration::from_secs(5);
    // Our own variables are not read.
    Settings { sveltos_nats: Some(path), nats_connect_timeout, ..Settings::jetstream("127.0.0.1:1") }
}

#[tokio::test]
async fn the_secret_of_sveltos_opens_the_door_and_names_stream_and_subjects() {
    let folder = tempfile::tempdir().unwrap();
    let password = Server::start_with("authorization { user: sveltos, password: \"s3cret word\" }");
    let token = Server::start_with("authorization { token: \"t0ken\" }");
    let user = |password: &str| serde_json::json!({"user": {"user": "sveltos", "password": password}});
    for (server, login) in [(&password, user("s3cret word")), (&token, serde_json::json!({"token": "t0ken"}))]
    {
        let bus = Bus::open(&sveltos_nats(folder.path(), server, &login), Access::Consume).await.unwrap();
        bus.ensure_subjects(&subjects()).await.unwrap();
        assert_eq!(bus.subjects().await.unwrap(), [SUBJECT, "order-made"]);
        bus.publish(Message { subject: "order-made".to_owned(), ..message("{}") }).await.unwrap();
        let fetched = bus.fetch("order-made", 1).await.unwrap();
        assert_eq!(fetched.len(), 1);
        fetched[0].ack().await.unwrap();
    }
    for (server, login) in [(&password, user("wr0ng")), (&token, serde_json::json!({}))] {
        let error =
            Bus::open(&sveltos_nats(folder.path(), server, &login), Access::Consume).await.unwrap_err();
        assert!(matches!(&error, Error::Configuration(text) if text.contains("SVELTOS_NATS")), "{error:?}");
        assert!(!error.to_string().contains("wr0ng"), "{error}");
    }
}

#[tokio::test]
async fn every_stream_of_the_secret_is_consumed_and_none_is_changed_unless_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start();
    let context = context(&server).await;
    for (name, subject) in [("first", SUBJECT), ("second", "account.>")] {
        let config = jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
    }
    let kept = async |stream: &str| {
        context.get_stream(stream).await.unwrap().get_info().await.unwrap().config.subjects
    };
    let listed = serde_json::json!([{"name": "first"}, {"name": "second", "subjects": ["account.saved"]}]);
    let wanted = BTreeSet::from([SUBJECT, "account.saved", "elsewhere"].map(str::to_owned));
    for layout in
        [serde_json::json!({"subjects": ["first", "second"]}), serde_json::json!({"streams": listed})]
    {
        let settings = sveltos_nats_with(folder.path(), &server, &layout);
        let bus = Bus::open(&settings, Access::Consume).await.unwrap();
        bus.ensure_subjects(&wanted).await.unwrap();
        assert_eq!(
            (kept("first").await, kept("second").await),
            (vec![SUBJECT.into()], vec!["account.>".into()])
        );
        let kept: BTreeSet<_> = bus.subjects().await.unwrap().into_iter().collect();
        assert_eq!(kept, BTreeSet::from([SUBJECT, "account.>"].map(str::to_owned)));
        bus.publish(message("{}")).await.unwrap();
        bus.publish(Message { subject: "account.saved".to_owned(), ..message("{}") }).await.unwrap();
        let error = bus.publish(Message { subject: "elsewhere".to_owned(), ..message("{}") }).await;
        assert!(error.unwrap_err().to_string().contains("elsewhere"));
        // The first message of each stream has the same number: the attempts of one say nothing of the other.
        let first = bus.fetch(SUBJECT, 1).await.unwrap();
        bus.record_attempts(&first[0], 3).await.unwrap();
        first[0].nak(Duration::ZERO).await.unwrap();
        let second = bus.fetch("account.>", 1).await.unwrap();
        second[0].nak(Duration::ZERO).await.unwrap();
        assert_eq!(
            (fetch_one(&bus).await.attempts, bus.fetch("account.>", 1).await.unwrap()[0].attempts),
            (3, 0)
        );
        let backlog = bus.backlog().await.unwrap();
        assert_eq!(backlog.into_iter().map(|one| one.subject).collect::<BTreeSet<_>>(), kept);
        for (stream, consumer) in
            [("first", "dispatcher-item-registered"), ("second", "dispatcher-account__")]
        {
            let stream = context.get_stream(stream).await.unwrap();
            stream.consumer_info(consumer).await.unwrap();
            stream.delete_consumer(consumer).await.unwrap();
            stream.purge().await.unwrap();
        }
        context.get_stream("first-tries").await.unwrap().purge().await.unwrap();
    }
    let settings =
        sveltos_nats_with(folder.path(), &server, &serde_json::json!({"subjects": ["first", "second"]}));
    let bus = Bus::open(&Settings { nats_add_subjects: true, ..settings }, Access::Consume).await.unwrap();
    bus.ensure_subjects(&wanted).await.unwrap();
    assert_eq!((kept("first").await.len(), kept("second").await.len()), (2, 1));
    bus.publish(Message { subject: "elsewhere".to_owned(), ..message("{}") }).await.unwrap();
    let settings =
        sveltos_nats_with(folder.path(), &server, &serde_json::json!({"subjects": ["first", SUBJECT]}));
    let bus = Bus::open(&settings, Access::Consume).await.unwrap();
    let error = bus.ensure_subjects(&wanted).await.unwrap_err();
    assert!(!error.try_again() && error.to_string().contains("no NATS stream item-registered"), "{error}");
}

/// Runs `openssl` in a folder.
fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(folder).output();
    let output = output.expect("openssl is not on the PATH: install it with `apt-get install openssl`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_client_certificate_and_a_private_authority_open_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder.path(),
        &format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"),
    );
    for name in ["server", "client"] {
        openssl(folder.path(), &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let sign = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names";
        openssl(folder.path(), &format!("x509 -req -in {name}.csr -out {name}.pem {sign}"));
    }
    let files = ["server.pem", "server.key", "ca.pem"].map(|name| path(name).display().to_string());
    let [cert, key, ca] = files;
    let server = Server::start_with(&format!(
        "tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true, timeout: 5 }}"
    ));
    let right = Settings {
        nats_ca: Some(path("ca.pem")),
        nats_cert: Some(path("client.pem")),
        nats_key: Some(path("client.key")),
        nats_connect_timeout: Duration::from_secs(2),
        ..Settings::jetstream(server.address())
    };
    let bus = Bus::open(&right, Access::Consume).await.unwrap();
    bus.ensure_subjects(&subjects()).await.unwrap();
    for wrong in [
        Settings { nats_ca: None, ..right.clone() },
        Settings { nats_cert: None, nats_key: None, ..right.clone() },
    ] {
        Bus::open(&wrong, Access::Consume).await.unwrap_err();
    }
    let packed = |name: &str| BASE64_STANDARD.encode(std::fs::read(path(name)).unwrap());
    let certificate = serde_json::json!({"certPem": packed("client.pem"), "keyPem": packed("client.key")});
    let login = serde_json::json!({"rootCA": packed("ca.pem"), "clientCert": certificate});
    Bus::open(&sveltos_nats(folder.path(), &server, &login), Access::Consume).await.unwrap();
    for part in ["rootCA", "clientCert"] {
        let mut less = login.clone();
        less.as_object_mut().unwrap().remove(part);
        Bus::open(&sveltos_nats(folder.path(), &server, &less), Access::Consume).await.unwrap_err();
    }
}

async fn open(settings: &Settings) -> Result<Bus, Error> {
    Bus::open(settings, Access::Consume).await
}

#[tokio::test]
async fn a_login_in_the_address_is_used_and_a_variable_wins_over_it() {
    let user = Server::start_with("authorization { user: \"us er\", password: \"p@ss/w%rd\" }");
    let token = Server::start_with("authorization { token: \"t0/ken\" }");
    let at =
        |server: &Server, login: &str| Settings::jetstream(format!("nats://{login}@{}", server.address()));
    open(&at(&user, "us%20er:p%40ss%2Fw%25rd")).await.unwrap();
    open(&at(&token, "t0%2Fken")).await.unwrap();
    let error = open(&at(&user, "us%20er:wr0ng")).await.unwrap_err();
    assert!(
        matches!(&error, Error::Configuration(text) if text.contains("the login in NATS_SERVER")),
        "{error:?}"
    );
    assert!(!error.to_string().contains("wr0ng"), "{error}");
    let both = Settings {
        nats_user: Some("us er".to_owned()),
        nats_password: Some(Secret::from("p@ss/w%rd".to_owned())),
        ..at(&user, "other:wr0ng")
    };
    open(&both).await.unwrap();
}

#[tokio::test]
async fn a_websocket_address_is_refused_by_name_and_nothing_goes_in_clear() {
    let server = Server::start();
    for scheme in ["ws", "wss"] {
        let error = open(&Settings::jetstream(format!("{scheme}://u:s3cret@{}", server.address())))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Configuration(text) if text.contains("websockets are not spoken")),
            "{error:?}"
        );
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn a_right_that_is_missing_is_reported_in_the_servers_words() {
    let users = |permissions: &str| {
        format!("authorization {{ users: [{{ user: b, password: b, permissions: {permissions} }}] }}")
    };
    for (permissions, said) in [
        ("{ publish: [\"item-saved\"], subscribe: [\"_INBOX.>\"] }", "may not publish to $JS.API.INFO"),
        ("{ publish: [\">\"], subscribe: [\"item-saved\"] }", "may not subscribe to _INBOX."),
    ] {
        let server = Server::start_with(&users(permissions));
        let start = Instant::now();
        let error = open(&Settings::jetstream(format!("nats://b:b@{}", server.address()))).await.unwrap_err();
        assert!(
            matches!(&error, Error::Configuration(text) if text.contains(said) && text.contains("Permissions Violation")),
            "{error:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(5), "it waits for an answer that never comes");
    }
}

#[tokio::test]
async fn replicas_that_the_server_cannot_have_are_a_mistake_of_the_settings() {
    let server = Server::start();
    // Without a cluster, and more than any cluster keeps.
    for nats_replicas in [3, 7] {
        let settings = Settings { nats_replicas, ..Settings::jetstream(server.address()) };
        let error = open(&settings).await.unwrap().ensure_subjects(&subjects()).await.unwrap_err();
        let said = format!("NATS_REPLICAS={nats_replicas}");
        assert!(matches!(&error, Error::Configuration(text) if text.contains(&said)), "{error:?}");
    }
}

#[tokio::test]
async fn the_streams_are_looked_at_seldom_but_at_once_when_one_is_gone() {
    let server = Server::start();
    let settings =
        Settings { heartbeat: Duration::from_millis(100), ..Settings::jetstream(server.address()) };
    let bus = open(&settings).await.unwrap();
    bus.ensure_subjects(&subjects()).await.unwrap();
    let client = async_nats::connect(server.address()).await.unwrap();
    let mut asked = client.subscribe("$JS.API.STREAM.INFO.>").await.unwrap();
    client.flush().await.unwrap();
    for _ in 0..10 {
        bus.ensure_subjects(&subjects()).await.unwrap();
        assert_eq!(bus.subjects().await.unwrap(), [SUBJECT]);
        assert_eq!(bus.check(Duration::from_secs(5)).await.problem, None);
        assert!(bus.fetch(SUBJECT, 1).await.unwrap().is_empty());
    }
    let mut looks = 0;
    while tokio::time::timeout(Duration::from_millis(200), asked.next()).await.is_ok() {
        looks += 1;
    }
    // The server reports that the stream was made, which is looked at once.
    assert!(looks <= 2, "{looks} looks in ten rounds");
    let context = context(&server).await;
    let mut config = context.get_stream(DEFAULT_STREAM).await.unwrap().get_info().await.unwrap().config;
    config.subjects = vec!["item.other".to_owned()];
    context.update_stream(&config).await.unwrap();
    let start = Instant::now();
    while !config.subjects.contains(&SUBJECT.to_owned()) {
        assert!(start.elapsed() < Duration::from_secs(10), "the subject is not there again");
        bus.ensure_subjects(&subjects()).await.unwrap();
        config = context.get_stream(DEFAULT_STREAM).await.unwrap().get_info().await.unwrap().config;
    }
    context.delete_stream(DEFAULT_STREAM).await.unwrap();
    let _ = bus.fetch(SUBJECT, 1).await;
    bus.publish(message("again")).await.unwrap();
    assert_eq!(text(&fetch_one(&bus).await), "again");
}

#[tokio::test]
async fn ids_are_found_in_every_part_of_a_long_stream() {
    let test_bus = TestBus::jetstream().await;
    let bus = test_bus.open().await;
    let publish = |number: usize, subject: &str| {
        let id = Some(format!("{subject} {number}"));
        bus.publish(Message { id, subject: subject.to_owned(), ..message("x") })
    };
    for number in 0..1500 {
        // The other subject begins with a gap, and ends with one.
        if (700..1400).contains(&number) {
            publish(number, "item.saved").await.unwrap();
        }
        publish(number, SUBJECT).await.unwrap();
    }
    let since = Utc::now() - Duration::from_mins(10);
    for (subject, there) in [(SUBJECT, [0, 64, 1023, 1499]), ("item.saved", [700, 701, 1000, 1399])] {
        let ids = |numbers: &[usize]| -> BTreeSet<_> {
            numbers.iter().map(|number| format!("{subject} {number}")).collect()
        };
        let wanted = &ids(&there) | &ids(&[1500]);
        assert_eq!(bus.missing(subject, since, wanted).await.unwrap(), ids(&[1500]));
    }
}

#[tokio::test]
async fn in_a_cluster_nothing_that_is_sent_for_a_fetch_is_overheard() {
    let servers = Server::start_cluster();
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let settings = Settings {
        nats_replicas: 3,
        lease: Duration::from_secs(20),
        ..Settings::jetstream(addresses.join(","))
    };
    let bus = open(&settings).await.unwrap();
    // Wait until the servers have found each other.
    let start = Instant::now();
    while let Err(error) = bus.ensure_subjects(&subjects()).await {
        assert!(start.elapsed() < Duration::from_secs(30), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for number in 0..60 {
        bus.publish(message(&number.to_string())).await.unwrap();
    }
    let mut came = 0;
    for fetch in 0..60 {
        for delivery in bus.fetch(SUBJECT, 1 + fetch % 7).await.unwrap() {
            assert_eq!(delivery.delivery_count, 1, "{}", text(&delivery));
            delivery.ack().await.unwrap();
            came += 1;
        }
        if came == 60 {
            return;
        }
    }
    panic!("{came} of 60 came");
}

#[tokio::test]
async fn a_message_larger_than_the_stream_takes_is_refused_for_good() {
    let server = Server::start();
    let config = jetstream::stream::Config {
        name: DEFAULT_STREAM.to_owned(),
        subjects: vec![SUBJECT.to_owned()],
        max_message_size: 10,
        ..Default::default()
    };
    context(&server).await.create_stream(config).await.unwrap();
    let bus = open(&Settings::jetstream(server.address())).await.unwrap();
    let error = bus.publish(message("more than ten bytes")).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn another_domain_and_the_prefix_of_its_api_are_asked() {
    let mut server = Server::start();
    server.stop();
    server.rewrite("jetstream {", "jetstream { domain: hub,");
    server.run();
    for (domain, prefix) in [(Some("hub"), None), (None, Some("$JS.hub.API")), (None, None)] {
        let settings = Settings {
            nats_js_domain: domain.map(str::to_owned),
            nats_js_api_prefix: prefix.map(str::to_owned),
            ..Settings::jetstream(server.address())
        };
        let bus = open(&settings).await.unwrap();
        bus.ensure_subjects(&subjects()).await.unwrap();
        bus.publish(message("one")).await.unwrap();
        fetch_one(&bus).await.ack().await.unwrap();
    }
    let wrong = Settings {
        nats_js_domain: Some("other".to_owned()),
        nats_connect_timeout: Duration::from_secs(1),
        ..Settings::jetstream(server.address())
    };
    let error = open(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("JetStream does not") && error.contains("NATS_JS_DOMAIN=other"), "{error}");
}

#[tokio::test]
async fn a_server_that_wants_tls_first_is_reached_so_and_named_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder.path(),
        &format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"),
    );
    openssl(folder.path(), &format!("req {key} -subj /CN=server -keyout s.key -out s.csr"));
    openssl(
        folder.path(),
        "x509 -req -in s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out s.pem",
    );
    let server = Server::start_with(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, handshake_first: true }}",
        path("s.pem"),
        path("s.key")
    ));
    let at = |ca: Option<std::path::PathBuf>, first: Option<&str>| Settings {
        nats_ca: ca,
        nats_tls_first: first.map(str::to_owned),
        nats_connect_timeout: Duration::from_secs(1),
        ..Settings::jetstream(format!("tls://{}", server.address()))
    };
    open(&at(Some(path("ca.pem")), Some("true"))).await.unwrap();
    let error = open(&at(None, Some("true"))).await.unwrap_err();
    assert!(
        matches!(&error, Error::Configuration(text) if text.contains("name the file of that authority in NATS_CA")),
        "{error:?}"
    );
    let error = open(&at(Some(path("ca.pem")), None)).await.unwrap_err();
    assert!(error.to_string().contains("NATS_TLS_FIRST"), "{error}");
}

#[tokio::test]
async fn a_missing_file_is_named_with_its_variable() {
    let settings = Settings { nats_ca: Some("/nowhere/ca.pem".into()), ..Settings::default() };
    let error = Bus::open(&settings, Access::Consume).await.unwrap_err();
    assert!(
        matches!(&error, Error::Configuration(text) if text.contains("NATS_CA: cannot use the file /nowhere/ca.pem")),
        "{error:?}"
    );
    let settings = Settings { nats_cert: Some("/etc/hosts".into()), ..Settings::default() };
    let error = Bus::open(&settings, Access::Consume).await.unwrap_err();
    assert!(matches!(&error, Error::Configuration(text) if text.contains("NATS_KEY")), "{error:?}");
}

#[tokio::test]
async fn a_server_without_jetstream_is_told_from_one_that_is_down() {
    let server = Server::start_with("accounts { A { users: [ { user: a, password: b } ] } }");
    let settings = Settings {
        nats_user: Some("a".to_owned()),
        nats_password: Some(Secret::from("b".to_owned())),
        nats_connect_timeout: Duration::from_secs(1),
        ..Settings::jetstream(server.address())
    };
    let error = Bus::open(&settings, Access::Consume).await.unwrap_err();
    assert!(error.to_string().contains("JetStream"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_and_answers_go_on_when_the_server_comes_back() {
    let mut test_bus = TestBus::jetstream().await;
    let bus = test_bus.open().await;
    bus.publish(message("before")).await.unwrap();
    let delivery = fetch_one(&bus).await;
    test_bus.shut_down_server();
    let answer = tokio::spawn(async move { delivery.ack().await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    test_bus.start_server();
    answer.await.unwrap().unwrap();
    let start = Instant::now();
    while let Err(error) = bus.publish(message("after")).await {
        assert!(error.try_again() && start.elapsed() < Duration::from_secs(20), "{error}");
    }
    assert_eq!(text(&fetch_one(&bus).await), "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_closed_replica_had_pulled_goes_to_another_at_once() {
    let test_bus = TestBus::jetstream().await;
    let bus = test_bus.open().await;
    let other = test_bus.open().await;
    let cancelled = tokio::time::timeout(Duration::from_millis(300), bus.fetch(SUBJECT, 1)).await;
    assert!(cancelled.is_err());
    other.publish(message("one")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await; // pulled, and no fetch asks for it
    bus.close().await;
    let start = Instant::now();
    assert_eq!(text(&fetch_one(&other).await), "one");
    assert!(start.elapsed() < LEASE / 2, "{:?}", start.elapsed());
}

/// Publishes header bytes that no client library would write.
async fn publish_raw(server: &Server, headers: &[u8], payload: &[u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let mut info = [0; 4096];
    let _ = socket.read(&mut info).await.unwrap();
    let head = [b"NATS/1.0\r\n", headers, b"\r\n\r\n"].concat();
    let (head_size, total) = (head.len(), head.len() + payload.len());
    let mut bytes =
        format!("CONNECT {{\"headers\":true,\"verbose\":false}}\r\nHPUB {SUBJECT} {head_size} {total}\r\n")
            .into_bytes();
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\nPING\r\n");
    socket.write_all(&bytes).await.unwrap();
    let mut answer = [0; 64];
    let count = socket.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"PONG"), "{:?}", String::from_utf8_lossy(&answer[..count]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_headers_cannot_be_read_does_not_hold_up_the_others() {
    let test_bus = TestBus::jetstream().await;
    let bus = test_bus.open().await;
    let TestBus::JetStream(server) = &test_bus else { unreachable!() };
    bus.publish(message("before")).await.unwrap();
    publish_raw(server, b"my header: x", b"poison 1").await;
    publish_raw(server, b"a: \xff\xfe", b"poison 2").await;
    publish_raw(server, b"no colon", b"poison 3").await;
    bus.publish(message("after")).await.unwrap();
    let mut taken = BTreeSet::new();
    let start = Instant::now();
    while taken.len() < 2 && start.elapsed() < Duration::from_secs(30) {
        match bus.fetch(SUBJECT, 5).await {
            Ok(deliveries) => {
                for delivery in deliveries {
                    delivery.ack().await.unwrap();
                    taken.insert(text(&delivery));
                }
            }
            Err(error) => println!("{:?} {error}", start.elapsed()),
        }
    }
    assert_eq!(taken.len(), 2, "{taken:?}");
    let letters = bus.dead_letters(&Filter::default()).await.unwrap().letters;
    let payloads: Vec<_> = letters.iter().map(|letter| String::from_utf8_lossy(&letter.payload)).collect();
    assert_eq!(payloads, ["poison 1", "poison 2", "poison 3"]);
    assert_eq!(letters[0].info.failure.class, FailureClass::UnreadableHeaders);
    let error = bus.replay(letters[0].number).await.unwrap_err();
    assert!(!error.try_again(), "{error}");
    assert_eq!(bus.backlog().await.unwrap()[0].in_flight, 0);
}
