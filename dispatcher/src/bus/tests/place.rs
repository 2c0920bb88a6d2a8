//! Where a behaviour is tested: one of the buses, fresh.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::server::Server;
use crate::bus::{Access, Bus, Delivery, Message, Settings};

/// The lease in the tests.
pub(super) const LEASE: Duration = Duration::from_secs(1);

/// How long a fetch waits in the tests.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(700);

/// The subject of most tests.
pub(super) const SUBJECT: &str = "customer-registered";

/// A bus that does not exist before the test.
pub(super) enum Place {
    JetStream(Server),
    Embedded(TempDir),
}

impl Place {
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
        let subjects = [SUBJECT, "customer.saved"].map(str::to_owned);
        bus.ensure_subjects(&BTreeSet::from(subjects)).await.unwrap();
        bus
    }

    /// A second consumer: another replica, or where there is only one process, another part of it.
    pub(super) async fn open_another(&self, first: &Bus) -> Bus {
        match self {
            Self::JetStream(_) => self.open().await,
            Self::Embedded(_) => first.clone(),
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
