//! The kinds of faults, and one fault with everything that chance decides about it.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;
use tests::{smtp, vendor};

use crate::options::{BackendName, BusName, Options};

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// Workers killed at one point of their step
    KillAtPoint,
    /// All workers killed at any moment
    KillWorkers,
    /// One dispatcher killed and started again
    KillDispatcher,
    /// All dispatchers killed at once
    KillDispatchers,
    /// All dispatchers killed while workers stand in the middle of their step, and live on
    OrphanWorkers,
    /// One dispatcher told to end, and started again
    StopDispatcher,
    /// A server killed and started again
    StopServer,
    /// A server that is silent
    SilentServer,
    /// A server that is slow
    SlowServer,
    /// A server that answers what means nothing
    Garbage,
    /// Answers that end in the middle
    Cut,
    /// The vendor fails, hangs or answers nonsense
    Vendor,
    /// The mail server refuses for now, or hangs
    Mail,
    /// No space left for the dispatchers' state
    FullDisk,
    /// The clock of dispatchers and workers jumps
    ClockJump,
    /// Manifests change, break and come back
    Manifests,
}

/// A server of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Broker,
    Database,
    Mail,
    Vendor,
}

/// Where a worker stands when it is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) server: Server,
    /// What the worker says to the server there.
    pub(crate) words: &'static str,
    /// Once the server has heard it, or before.
    pub(crate) after: bool,
}

/// How the manifests change.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Label,
    Broken,
    NewFolder,
}

/// One fault, with everything that chance decides about it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    KillAtPoint(Point),
    KillWorkers,
    KillDispatcher(usize),
    KillDispatchers,
    OrphanWorkers,
    StopDispatcher(usize),
    StopServer(Server, Duration),
    SilentServer(Server, Duration),
    SlowServer(Server, Duration, Duration),
    Garbage(Server, Duration),
    Cut(Server, usize, Duration),
    Vendor(vendor::Mode, Duration),
    Mail(smtp::Mode, Duration),
    FullDisk(Duration),
    ClockJump(i64, Duration),
    Manifests(Change, Duration),
}

const POINTS: [(Server, &str, bool); 14] = [
    (Server::Broker, "CONNECT", false),
    (Server::Broker, "HPUB", false),
    (Server::Broker, "HPUB", true),
    (Server::Database, "INSERT INTO handled_events", false),
    (Server::Database, "INSERT INTO handled_events", true),
    (Server::Database, "INSERT INTO outbox", false),
    (Server::Database, "INSERT INTO outbox", true),
    (Server::Database, "COMMIT", false),
    (Server::Database, "COMMIT", true),
    (Server::Mail, "DATA", false),
    (Server::Mail, "\r\n.\r\n", false),
    (Server::Mail, "\r\n.\r\n", true),
    (Server::Vendor, "POST ", false),
    (Server::Vendor, "POST ", true),
];

const SERVERS: [Server; 4] = [Server::Broker, Server::Database, Server::Mail, Server::Vendor];

impl Kind {
    /// Whether it can be done with this backend and bus.
    pub(crate) fn possible(self, options: &Options) -> bool {
        let processes = options.backend == BackendName::Process;
        let several = options.dispatcher_count() > 1;
        match self {
            Self::ClockJump => processes, // containers have the machine's clock
            Self::KillDispatchers => several,
            Self::FullDisk => processes || options.bus == BusName::Embedded,
            _ => true,
        }
    }
}

impl Fault {
    /// Every fault of this kind, with times and amounts of chance.
    pub(crate) fn all(kind: Kind, chance: &mut Rng, options: &Options) -> Vec<Self> {
        let broker = options.bus == BusName::Jetstream;
        let servers = || SERVERS.into_iter().filter(move |server| broker || *server != Server::Broker);
        let dispatchers = || 0..options.dispatcher_count();
        match kind {
            Kind::KillAtPoint => POINTS
                .into_iter()
                .filter(|(server, ..)| broker || *server != Server::Broker)
                .map(|(server, words, after)| Self::KillAtPoint(Point { server, words, after }))
                .collect(),
            Kind::KillWorkers => vec![Self::KillWorkers],
            Kind::KillDispatcher => dispatchers().map(Self::KillDispatcher).collect(),
            Kind::KillDispatchers => vec![Self::KillDispatchers],
            Kind::OrphanWorkers => vec![Self::OrphanWorkers],
            Kind::StopDispatcher => dispatchers().map(Self::StopDispatcher).collect(),
            Kind::StopServer => servers().map(|server| Self::StopServer(server, any_time(chance))).collect(),
            Kind::SilentServer => {
                servers().map(|server| Self::SilentServer(server, any_time(chance))).collect()
            }
            Kind::SlowServer => servers()
                .map(|server| {
                    Self::SlowServer(server, Duration::from_millis(chance.u64(20..400)), any_time(chance))
                })
                .collect(),
            Kind::Garbage => servers().map(|server| Self::Garbage(server, any_time(chance))).collect(),
            // Soon, which is in the greeting, and later.
            Kind::Cut => servers()
                .flat_map(|server| [(server, 1..200), (server, 200..4_000)])
                .map(|(server, bytes)| Self::Cut(server, chance.usize(bytes), any_time(chance)))
                .collect(),
            Kind::Vendor => {
                use vendor::Mode::{AcceptThenHang, Cut, Garbage, Hang, Status};
                let modes = [Status(500), Status(503), Status(429), Hang, AcceptThenHang, Garbage, Cut];
                modes.map(|mode| Self::Vendor(mode, any_time(chance))).to_vec()
            }
            Kind::Mail => {
                use smtp::Mode::{AcceptThenHang, Hang, Refuse4xx};
                [Refuse4xx, Hang, AcceptThenHang].map(|mode| Self::Mail(mode, any_time(chance))).to_vec()
            }
            Kind::FullDisk => vec![Self::FullDisk(any_time(chance))],
            Kind::ClockJump => [3_600, -3_600, 90 * 86_400, -86_400, 61]
                .map(|seconds| Self::ClockJump(seconds, any_time(chance)))
                .to_vec(),
            Kind::Manifests => [Change::Label, Change::Broken, Change::NewFolder]
                .map(|change| Self::Manifests(change, any_time(chance)))
                .to_vec(),
        }
    }
}

fn any_time(chance: &mut Rng) -> Duration {
    Duration::from_millis(chance.u64(300..2500))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillAtPoint(Point { server, words, after }) => {
                let when = if *after { "after" } else { "before" };
                write!(f, "kill a worker {when} {:?} to the {server:?}", words.trim())
            }
            Self::KillWorkers => f.write_str("kill all workers"),
            Self::KillDispatcher(number) => write!(f, "kill dispatcher {number}"),
            Self::KillDispatchers => f.write_str("kill all dispatchers"),
            Self::OrphanWorkers => f.write_str("kill all dispatchers while workers stand in their step"),
            Self::StopDispatcher(number) => write!(f, "stop dispatcher {number}"),
            Self::StopServer(server, time) => write!(f, "kill the {server:?} for {time:?}"),
            Self::SilentServer(server, time) => write!(f, "silence the {server:?} for {time:?}"),
            Self::SlowServer(server, delay, time) => {
                write!(f, "delay the {server:?} by {delay:?} for {time:?}")
            }
            Self::Garbage(server, time) => write!(f, "garbage from the {server:?} for {time:?}"),
            Self::Cut(server, bytes, time) => {
                write!(f, "answers of the {server:?} cut after {bytes} bytes for {time:?}")
            }
            Self::Vendor(mode, time) => write!(f, "the vendor answers {mode:?} for {time:?}"),
            Self::Mail(mode, time) => write!(f, "the mail server does {mode:?} for {time:?}"),
            Self::FullDisk(time) => write!(f, "no space for {time:?}"),
            Self::ClockJump(seconds, time) => write!(f, "clock off by {seconds} s for {time:?}"),
            Self::Manifests(change, time) => write!(f, "manifests changed ({change:?}) for {time:?}"),
        }
    }
}
