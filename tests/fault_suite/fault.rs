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

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    KillAtPoint(Point),
    KillWorkers,
    KillDispatcher(usize),
    KillDispatchers,
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
    /// One of this kind.
    pub(crate) fn any(kind: Kind, chance: &mut Rng, options: &Options) -> Self {
        let time = Duration::from_millis(chance.u64(300..2500));
        // The embedded bus has no broker.
        let first = usize::from(options.bus == BusName::Embedded);
        let server = SERVERS[chance.usize(first..SERVERS.len())];
        let dispatcher = chance.usize(..options.dispatcher_count());
        match kind {
            Kind::KillAtPoint => {
                let possible: Vec<_> = POINTS
                    .into_iter()
                    .filter(|(server, ..)| options.bus == BusName::Jetstream || *server != Server::Broker)
                    .collect();
                let (server, words, after) = possible[chance.usize(..possible.len())];
                Self::KillAtPoint(Point { server, words, after })
            }
            Kind::KillWorkers => Self::KillWorkers,
            Kind::KillDispatcher => Self::KillDispatcher(dispatcher),
            Kind::KillDispatchers => Self::KillDispatchers,
            Kind::StopDispatcher => Self::StopDispatcher(dispatcher),
            Kind::StopServer => Self::StopServer(server, time),
            Kind::SilentServer => Self::SilentServer(server, time),
            Kind::SlowServer => Self::SlowServer(server, Duration::from_millis(chance.u64(20..400)), time),
            Kind::Garbage => Self::Garbage(server, time),
            Kind::Cut => Self::Cut(server, chance.usize(1..200), time),
            Kind::Vendor => {
                use vendor::Mode::{AcceptThenHang, Cut, Garbage, Hang, Status};
                let modes = [Status(500), Status(503), Status(429), Hang, AcceptThenHang, Garbage, Cut];
                Self::Vendor(modes[chance.usize(..modes.len())], time)
            }
            Kind::Mail => {
                use smtp::Mode::{AcceptThenHang, Hang, Refuse4xx};
                let modes = [Refuse4xx, Hang, AcceptThenHang];
                Self::Mail(modes[chance.usize(..modes.len())], time)
            }
            Kind::FullDisk => Self::FullDisk(time),
            Kind::ClockJump => {
                let jumps = [3_600, -3_600, 90 * 86_400, -86_400, 61];
                Self::ClockJump(jumps[chance.usize(..jumps.len())], time)
            }
            Kind::Manifests => {
                let changes = [Change::Label, Change::Broken, Change::NewFolder];
                Self::Manifests(changes[chance.usize(..changes.len())], time)
            }
        }
    }
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
