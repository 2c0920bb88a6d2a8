//! The kinds of faults, and one fault with everything that chance decides about it.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;
use serde::Serialize;
use tests::{smtp, vendor};

use crate::options::{BackendName, BusName, Options};
use crate::point::Point;

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Workers killed at one point of their step, before their transaction is final
    KillAtPoint,
    /// Workers killed at one point after that: a repeat finds everything done
    KillCommitted,
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
    /// The cluster ends every watch and forgets what has been
    Cluster,
}

/// A server of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Broker,
    Database,
    Mail,
    Vendor,
    /// The embedded bus, where a worker hands in what follows by HTTP.
    Sink,
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
    Cluster,
}

/// Those that can be broken as a whole; the sink is a dispatcher.
const SERVERS: [Server; 4] = [Server::Broker, Server::Database, Server::Mail, Server::Vendor];

impl Kind {
    /// Whether it can be done with this backend and bus.
    pub(crate) fn possible(self, options: &Options) -> bool {
        let processes = options.backend == BackendName::Process;
        let containers = options.backend == BackendName::Docker;
        let several = options.dispatcher_count() > 1;
        match self {
            Self::Cluster => options.backend == BackendName::Kubernetes,
            Self::ClockJump => !containers, // containers have the machine's clock
            Self::KillDispatchers => several,
            Self::FullDisk => processes || options.bus == BusName::Embedded,
            _ => true,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}

impl Fault {
    /// What kind of fault it is.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::KillAtPoint(point) if point.is_committed() => Kind::KillCommitted,
            Self::KillAtPoint(_) => Kind::KillAtPoint,
            Self::KillWorkers => Kind::KillWorkers,
            Self::KillDispatcher(_) => Kind::KillDispatcher,
            Self::KillDispatchers => Kind::KillDispatchers,
            Self::OrphanWorkers => Kind::OrphanWorkers,
            Self::StopDispatcher(_) => Kind::StopDispatcher,
            Self::StopServer(..) => Kind::StopServer,
            Self::SilentServer(..) => Kind::SilentServer,
            Self::SlowServer(..) => Kind::SlowServer,
            Self::Garbage(..) => Kind::Garbage,
            Self::Cut(..) => Kind::Cut,
            Self::Vendor(..) => Kind::Vendor,
            Self::Mail(..) => Kind::Mail,
            Self::FullDisk(_) => Kind::FullDisk,
            Self::ClockJump(..) => Kind::ClockJump,
            Self::Manifests(..) => Kind::Manifests,
            Self::Cluster => Kind::Cluster,
        }
    }

    /// Every fault of this kind, with times and amounts of chance.
    pub(crate) fn all(kind: Kind, chance: &mut Rng, options: &Options) -> Vec<Self> {
        let broker = options.bus == BusName::Jetstream;
        let servers = || SERVERS.into_iter().filter(move |server| broker || *server != Server::Broker);
        let dispatchers = || 0..options.dispatcher_count();
        match kind {
            Kind::KillAtPoint | Kind::KillCommitted => {
                let absent = match (options.bus, options.backend) {
                    (BusName::Jetstream, _) => vec![Server::Sink],
                    (BusName::Embedded, BackendName::Process) => vec![Server::Broker],
                    // A container is told of its dispatcher's address by the dispatcher alone.
                    (BusName::Embedded, _) => vec![Server::Broker, Server::Sink],
                };
                Point::all()
                    .filter(|point| !absent.contains(&point.server))
                    .filter(|point| point.is_committed() == (kind == Kind::KillCommitted))
                    .map(Self::KillAtPoint)
                    .collect()
            }
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
            // Soon, which is in the greeting, and later; mail server and vendor never say more than a few lines.
            Kind::Cut => servers()
                .flat_map(|server| match server {
                    Server::Mail | Server::Vendor => [(server, 1..40), (server, 40..180)],
                    _ => [(server, 1..200), (server, 200..4_000)],
                })
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
            Kind::Cluster => vec![Self::Cluster],
        }
    }
}

fn any_time(chance: &mut Rng) -> Duration {
    Duration::from_millis(chance.u64(300..2500))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillAtPoint(point) => write!(f, "kill a worker {point}"),
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
            Self::Cluster => f.write_str("the cluster forgets"),
        }
    }
}
