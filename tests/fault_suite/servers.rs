//! The servers, each behind proxies: one for the workers, one for the dispatchers.

use std::time::Duration;

use tests::database::Database;
use tests::mariadb::MariaDb;
use tests::nats::{Nats, STREAM};
use tests::proxy::{Mode, Proxy};
use tests::smtp::Smtp;
use tests::vendor::Vendor;
use tests::{Setting, port, settings};

use crate::fault::Server;

/// The recipient of the notes about new customers.
pub(crate) const MARKETING: &str = "marketing@knapscen.example";

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) broker: Nats,
    pub(crate) database_server: MariaDb,
    pub(crate) database: Database,
    pub(crate) mail: Smtp,
    pub(crate) vendor: Vendor,
    /// The HTTP port of the first dispatcher.
    pub(crate) first_port: u16,
    workers: Proxies,
    dispatchers: Proxies,
}

#[derive(Debug)]
struct Proxies {
    broker: Proxy,
    database: Proxy,
    mail: Proxy,
    vendor: Proxy,
    sink: Proxy,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let (broker, database_server) = (Nats::start(), MariaDb::start());
        let database = database_server.database().migrated();
        let (mail, vendor) = (Smtp::start(), Vendor::start());
        let first_port = port::free();
        let proxies = || Proxies {
            broker: Proxy::before(broker.port()),
            database: Proxy::before(database_server.port()),
            mail: Proxy::before(mail.port()),
            vendor: Proxy::before(vendor.port()),
            sink: Proxy::before(first_port),
        };
        let (workers, dispatchers) = (proxies(), proxies());
        Self { broker, database_server, database, mail, vendor, first_port, workers, dispatchers }
    }

    /// The contents of the Secret `knapscen-config`.
    pub(crate) fn secret(&self) -> Vec<Setting> {
        let vendor = |path: &str| format!("http://127.0.0.1:{}{path}", self.workers.vendor.port());
        let mut all = self.database.settings_through(self.workers.database.port());
        all.extend(self.mail.settings_through(self.workers.mail.port()));
        all.extend(nats_settings(&self.workers.broker));
        all.extend(settings([
            ("MARKETING_WEBHOOK_URL", &vendor("/marketing")),
            ("MARKETING_EMAIL", MARKETING),
            ("SWAG_API_URL", &vendor("/orders")),
            ("SWAG_API_TOKEN", "vendor-token"),
            ("CRM_API_URL", &vendor("/crm")),
        ]));
        all
    }

    /// What a dispatcher needs.
    pub(crate) fn dispatcher_settings(&self) -> Vec<Setting> {
        let mut all = self.database.settings_through(self.dispatchers.database.port());
        all.extend(nats_settings(&self.dispatchers.broker));
        all
    }

    /// What a command needs that is not part of the system under test.
    pub(crate) fn direct_settings(&self) -> Vec<Setting> {
        let mut all = self.database.settings();
        all.extend(self.broker.settings());
        all
    }

    /// Sets the mode of all connections to the server, after ending the open ones.
    pub(crate) fn set(&self, server: Server, mode: &Mode) {
        for proxies in [&self.workers, &self.dispatchers] {
            proxies.of(server).set(Mode::Refuse);
            proxies.of(server).set(mode.clone());
        }
    }

    /// Whether the mode had an effect.
    pub(crate) fn reached(&self, server: Server) -> bool {
        [&self.workers, &self.dispatchers].iter().any(|proxies| proxies.of(server).reached())
    }

    /// Where a worker posts its events if there is no broker.
    pub(crate) fn sink(&self) -> String {
        format!("http://127.0.0.1:{}/events", self.workers.sink.port())
    }

    /// The proxy between the workers and the server.
    pub(crate) fn before_workers(&self, server: Server) -> &Proxy {
        self.workers.of(server)
    }

    /// Kills the server, and starts it again after this time.
    pub(crate) fn restart(&mut self, server: Server, after: Duration) {
        match server {
            Server::Broker => self.broker.stop(),
            Server::Database => self.database_server.stop(),
            Server::Mail => self.mail.stop(),
            // It is a part of this process; from outside it looks stopped.
            Server::Vendor | Server::Sink => self.set(server, &Mode::Refuse),
        }
        std::thread::sleep(after);
        match server {
            Server::Broker => self.broker.start_again(),
            Server::Database => self.database_server.start_again(),
            Server::Mail => self.mail.start_again(),
            Server::Vendor | Server::Sink => self.set(server, &Mode::Pass),
        }
    }
}

impl Proxies {
    fn of(&self, server: Server) -> &Proxy {
        match server {
            Server::Broker => &self.broker,
            Server::Database => &self.database,
            Server::Mail => &self.mail,
            Server::Vendor => &self.vendor,
            Server::Sink => &self.sink,
        }
    }
}

fn nats_settings(proxy: &Proxy) -> Vec<Setting> {
    settings([("NATS_SERVER", &format!("nats://127.0.0.1:{}", proxy.port())), ("NATS_STREAM", STREAM)])
}
