//! Creates one of the buses for a test.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use super::server::Server;
use crate::{Access, Bus, Delivery, Message, Settings};
use shared::nats::DEFAULT_STREAM;

/// The lease in the tests.
pub(super) const LEASE: Duration = Duration::from_secs(1);

/// How long a fetch waits in the tests.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(700);

/// The subject of most tests.
pub(super) const SUBJECT: &str = "item-registered";

/// A bus that does not exist before the test.
pub(super) enum TestBus {
    JetStream(Server),
    Embedded(TempDir),
}

impl TestBus {
    #[expect(clippy::unused_async, reason = "its twin may become asynchronous")]
    pub(super) async fn jetstream() -> Self {
        Self::JetStream(Server::start())
    }

    pub(super) fn embedded() -> Self {
        Self::Embedded(tempfile::tempdir().unwrap())
    }

    pub(super) fn settings(&self) -> Settings {
        let settings = match self {
            Self::JetStream(server) => Settings::jetstream(server.address()),
            Self::Embedded(folder) => Settings::embedded(folder.path().join("queue.db")),
        };
        Settings { lease: LEASE, heartbeat: HEARTBEAT, ..settings }
    }

    /// The bus with [`SUBJECT`] and one more.
    pub(super) async fn open(&self) -> Bus {
        let bus = Bus::open(&self.settings(), Access::Consume).await.unwrap();
        let subjects = [SUBJECT, "item.saved"].map(str::to_owned);
        bus.ensure_subjects(&BTreeSet::from(subjects)).await.unwrap();
        bus
    }

    /// A second consumer: another replica, or another part of the only process.
    pub(super) async fn open_another(&self, first: &Bus) -> Bus {
        match self {
            Self::JetStream(_) => self.open().await,
            Self::Embedded(_) => first.clone(),
        }
    }

    /// Removes what the stream keeps; the embedded bus keeps nothing that is answered.
    pub(super) async fn purge(&self) {
        if let Self::JetStream(server) = self {
            let context = async_nats::jetstream::new(async_nats::connect(server.address()).await.unwrap());
            context.get_stream(DEFAULT_STREAM).await.unwrap().purge().await.unwrap();
        }
    }

    /// Messages in the stream of the dead letters, parts among them.
    pub(super) async fn stored_dead_letters(&self) -> u64 {
        let Self::JetStream(server) = self else { return 0 };
        let context = async_nats::jetstream::new(async_nats::connect(server.address()).await.unwrap());
        let mut stream = context.get_stream(&format!("{DEFAULT_STREAM}-dead-letters")).await.unwrap();
        stream.info().await.unwrap().state.messages
    }

    /// Stores a message directly, as another program would.
    pub(super) async fn store_among_dead_letters(&self, headers: &[(&str, &str)], payload: &[u8]) {
        match self {
            Self::JetStream(server) => {
                let client = async_nats::connect(server.address()).await.unwrap();
                let mut map = async_nats::HeaderMap::new();
                for (name, value) in headers {
                    map.append(*name, *value);
                }
                let subject = format!("{DEFAULT_STREAM}.dead-letters.x");
                let context = async_nats::jetstream::new(client);
                let stored = context.publish_with_headers(subject, map, payload.to_vec().into()).await;
                stored.unwrap().await.unwrap();
            }
            Self::Embedded(folder) => {
                let file = format!("sqlite:{}", folder.path().join("queue.db").display());
                let mut connection = SqliteConnection::connect(&file).await.unwrap();
                // The first one is not even JSON.
                let headers =
                    if headers.is_empty() { "[".to_owned() } else { serde_json::json!(headers).to_string() };
                let insert = "INSERT INTO dead_letters (id, subject, headers, payload) VALUES (?, 'x', ?, ?)";
                let id = uuid::Uuid::new_v4().to_string();
                sqlx::query(insert)
                    .bind(id)
                    .bind(headers)
                    .bind(payload)
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
        }
    }

    /// Kills the server; the embedded bus has none.
    pub(super) fn stop_server(&mut self) {
        if let Self::JetStream(server) = self {
            server.stop();
        }
    }

    pub(super) fn shut_down_server(&mut self) {
        if let Self::JetStream(server) = self {
            server.shut_down();
        }
    }

    pub(super) fn start_server(&mut self) {
        if let Self::JetStream(server) = self {
            server.run();
        }
    }
}

pub(super) fn message(payload: &str) -> Message {
    Message { subject: SUBJECT.to_owned(), payload: Bytes::from(payload.to_owned()), ..Message::default() }
}

/// Fetches until something comes.
pub(super) async fn fetch_one(bus: &Bus) -> Delivery {
    for _ in 0..10 {
        match bus.fetch(SUBJECT, 1).await {
            Ok(mut deliveries) if !deliveries.is_empty() => return deliveries.remove(0),
            Ok(_) => {}
            Err(error) => assert!(error.try_again(), "{error}"),
        }
    }
    panic!("no message comes");
}

pub(super) fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.payload.to_vec()).unwrap()
}
