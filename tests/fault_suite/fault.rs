//! The kinds of faults, and one fault with everything that is chosen at random.

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
    /// Manifests change under load
    Manifests,
    /// A manifest that is no YAML
    BrokenManifest,
    /// Files of the manifests are empty or end in the middle
    HalfAFile,
    /// All manifests are away
    EmptiedFolder,
    /// The folder of the manifests itself is away
    FolderGone,
    /// The folder of the manifests is removed and copied anew, file by file
    CopiedFolder,
    /// A trigger is away
    MissingTrigger,
    /// A trigger is away with all that belongs to it
    MissingStep,
    /// A ConfigMap that a trigger refers to is away
    MissingConfigMap,
    /// A further dispatcher that lacks a step, as one of an older version
    OtherManifests,
    /// A further dispatcher whose cluster no trigger selects
    WrongCluster,
    /// One dispatcher frozen for longer than its lease, while others go on
    FreezeDispatcher,
    /// Dispatchers stopped and started so often that an event is handed back more often than it may be tried
    Restarts,
    /// A server frozen, with all its connections open
    FreezeServer,
    /// Workers killed between an effect and its entry in the ledger
    KillAfterEffect,
    /// The mail server takes a mail and ends the connection without an answer
    MailCutAtEnd,
    /// The mail server refuses one recipient, so that one of two effects of a step fails
    MailToOneRefused,
    /// The mail server refuses for good
    MailRefused,
    /// The vendor answers 200, and its body says no
    YesThatMeansNo,
    /// The vendor refers to another place, or refuses token or request
    VendorElsewhere,
    /// The vendor's answer never ends, or is nested too deeply
    VendorFloods,
    /// Others lock rows of the workers' tables, in any order
    LockedRows,
    /// Somebody locks the history
    LockedHistory,
    /// The database is read-only
    ReadOnly,
    /// The database has no connection left
    NoConnections,
    /// The database ends every session, again and again
    EndedSessions,
    /// The password of the database is changed, and some time later known again
    RotatedPassword,
    /// The consumers are removed
    ConsumersGone,
    /// Subjects of the stream are cut away
    SubjectsGone,
    /// What is acknowledged ages out of the stream
    StreamAged,
    /// The stream has no space left
    StreamFull,
    /// The disk of the broker is lost, with all streams
    StoreLost,
    /// The streams are restored from an older copy
    StoreRestored,
    /// Somebody replays and then removes all dead letters
    LettersPurged,
    /// Somebody has the outbox published again in mid-flow
    Republished,
    /// Events up to the largest that the bus takes
    LargeEvents,
    /// Messages whose headers no client can read
    UnreadableHeaders,
    /// The workers' binaries are replaced: away, half there, back
    ReplacedBinaries,
    /// Dispatchers have no file left to open
    FewFiles,
    /// The files by which dispatchers know running Jobs are removed
    StateGone,
    /// Strangers hold hundreds of connections to the dispatchers
    IdleConnections,
    /// Somebody locks the queue of the embedded bus
    LockedQueue,
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
    /// The embedded bus, to which workers post their events over HTTP.
    Sink,
}

/// How the manifests change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Label,
    Broken,
    NewFolder,
    TriggerGone,
    StepGone,
    ConfigMapGone,
    AllGone,
    FolderGone,
    Copied,
    EmptyTrigger,
    HalfATemplate,
}

const CHANGES: [Change; 11] = [
    Change::Label,
    Change::Broken,
    Change::NewFolder,
    Change::TriggerGone,
    Change::StepGone,
    Change::ConfigMapGone,
    Change::AllGone,
    Change::FolderGone,
    Change::Copied,
    Change::EmptyTrigger,
    Change::HalfATemplate,
];

impl Change {
    /// A change that removes a trigger lasts longer than such a set must be unchanged to take force.
    fn at_least(self) -> Duration {
        match self {
            Self::Label | Self::Broken | Self::NewFolder | Self::Copied => Duration::ZERO,
            Self::AllGone | Self::FolderGone | Self::EmptyTrigger | Self::HalfATemplate => {
                Duration::from_secs(2)
            }
            Self::TriggerGone | Self::StepGone | Self::ConfigMapGone => Duration::from_secs(5),
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Label | Self::NewFolder => Kind::Manifests,
            Self::Broken => Kind::BrokenManifest,
            Self::TriggerGone => Kind::MissingTrigger,
            Self::StepGone => Kind::MissingStep,
            Self::ConfigMapGone => Kind::MissingConfigMap,
            Self::AllGone => Kind::EmptiedFolder,
            Self::FolderGone => Kind::FolderGone,
            Self::Copied => Kind::CopiedFolder,
            Self::EmptyTrigger | Self::HalfATemplate => Kind::HalfAFile,
        }
    }
}

/// One fault, with everything that is chosen at random.
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
    FreezeDispatcher(usize, Duration),
    FreezeServer(Server, Duration),
    /// A further dispatcher without the triggers of this folder.
    OtherManifests(&'static str, Duration),
    /// A kind without variants.
    Plain(Kind, Duration),
}

/// Servers that can be broken as a whole; the sink belongs to a dispatcher.
const SERVERS: [Server; 4] = [Server::Broker, Server::Database, Server::Mail, Server::Vendor];

impl Kind {
    /// Whether it is possible with this backend and bus.
    pub(crate) fn possible(self, options: &Options) -> bool {
        let processes = options.backend == BackendName::Process;
        let containers = options.backend == BackendName::Docker;
        let several = options.dispatcher_count() > 1;
        let broker = options.bus == BusName::Jetstream;
        match self {
            Self::Cluster => options.backend == BackendName::Kubernetes,
            Self::ClockJump => !containers, // containers have the machine's clock
            // A single frozen dispatcher is only slow.
            Self::KillDispatchers | Self::FreezeDispatcher => several,
            Self::FullDisk => processes || !broker,
            Self::ReplacedBinaries | Self::StateGone => processes,
            Self::FewFiles => processes && broker, // a queue in a file needs files for its own repair
            Self::OtherManifests
            | Self::WrongCluster
            | Self::ConsumersGone
            | Self::SubjectsGone
            | Self::StreamAged
            | Self::StreamFull
            | Self::StoreLost
            | Self::StoreRestored
            | Self::LettersPurged
            | Self::UnreadableHeaders => broker,
            Self::LockedQueue => !broker,
            _ => true,
        }
    }

    /// Whether a server then answers as if the input or a setting were wrong; such events have to be replayed.
    pub(crate) const fn may_refuse(self) -> bool {
        matches!(
            self,
            Self::Vendor
                | Self::YesThatMeansNo
                | Self::VendorElsewhere
                | Self::VendorFloods
                | Self::Mail
                | Self::MailToOneRefused
                | Self::MailRefused
                | Self::Garbage
                | Self::Cut
        )
    }

    /// Effects that this fault may cause to be repeated: a worker, the server or the connection ends between an
    /// effect and its entry.
    pub(crate) const fn may_repeat(self) -> bool {
        matches!(
            self,
            Self::KillAtPoint
                | Self::KillCommitted
                | Self::KillAfterEffect
                | Self::KillWorkers
                | Self::Restarts
        )
    }
}

impl Kind {
    /// Its description in a few words.
    fn words(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}

impl Fault {
    /// The kind of the fault.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::KillAtPoint(point) => point.kind(),
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
            Self::Vendor(mode, _) => [Kind::YesThatMeansNo, Kind::VendorElsewhere, Kind::VendorFloods]
                .into_iter()
                .find(|kind| vendor_modes(*kind).contains(&mode))
                .unwrap_or(Kind::Vendor),
            Self::Mail(mode, _) => [Kind::MailCutAtEnd, Kind::MailToOneRefused, Kind::MailRefused]
                .into_iter()
                .find(|kind| mail_modes(*kind).contains(&mode))
                .unwrap_or(Kind::Mail),
            Self::FullDisk(_) => Kind::FullDisk,
            Self::ClockJump(..) => Kind::ClockJump,
            Self::Manifests(change, _) => change.kind(),
            Self::FreezeDispatcher(..) => Kind::FreezeDispatcher,
            Self::FreezeServer(..) => Kind::FreezeServer,
            Self::OtherManifests(..) => Kind::OtherManifests,
            Self::Plain(kind, _) => kind,
        }
    }

    /// Whether it disturbs the answers of this server to workers.
    pub(crate) fn disturbs(self, server: Server) -> bool {
        match self {
            Self::StopServer(met, _)
            | Self::SilentServer(met, _)
            | Self::SlowServer(met, ..)
            | Self::Garbage(met, _)
            | Self::Cut(met, ..) => met == server,
            Self::Mail(..) => server == Server::Mail,
            _ => false,
        }
    }

    /// Every fault of this kind, with random times and amounts.
    pub(crate) fn all(kind: Kind, chance: &mut Rng, options: &Options) -> Vec<Self> {
        let broker = options.bus == BusName::Jetstream;
        let servers = || SERVERS.into_iter().filter(move |server| broker || *server != Server::Broker);
        let dispatchers = || 0..options.dispatcher_count();
        match kind {
            Kind::KillAtPoint | Kind::KillCommitted | Kind::KillAfterEffect => {
                let absent = match (options.bus, options.backend) {
                    (BusName::Jetstream, _) => vec![Server::Sink],
                    (BusName::Embedded, BackendName::Process) => vec![Server::Broker],
                    // Only the dispatcher tells a container the dispatcher's address.
                    (BusName::Embedded, _) => vec![Server::Broker, Server::Sink],
                };
                Point::all()
                    .filter(|point| !absent.contains(&point.server))
                    .filter(|point| point.kind() == kind)
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
            // Early, which is in the greeting, and later. Mail server and vendor never send more than a few lines.
            Kind::Cut => servers()
                .flat_map(|server| match server {
                    Server::Mail | Server::Vendor => [(server, 1..40), (server, 40..180)],
                    _ => [(server, 1..200), (server, 200..4_000)],
                })
                .map(|(server, bytes)| Self::Cut(server, chance.usize(bytes), any_time(chance)))
                .collect(),
            Kind::Vendor | Kind::YesThatMeansNo | Kind::VendorElsewhere | Kind::VendorFloods => {
                vendor_modes(kind).iter().map(|mode| Self::Vendor(*mode, any_time(chance))).collect()
            }
            Kind::Mail | Kind::MailCutAtEnd | Kind::MailToOneRefused | Kind::MailRefused => {
                // The second mail of a customer comes some steps after the first.
                let more = Duration::from_secs(if kind == Kind::MailToOneRefused { 2 } else { 0 });
                mail_modes(kind).iter().map(|mode| Self::Mail(*mode, more + any_time(chance))).collect()
            }
            Kind::FullDisk => vec![Self::FullDisk(any_time(chance))],
            Kind::ClockJump => [3_600, -3_600, 90 * 86_400, -86_400, 61]
                .map(|seconds| Self::ClockJump(seconds, any_time(chance)))
                .to_vec(),
            Kind::Manifests
            | Kind::BrokenManifest
            | Kind::HalfAFile
            | Kind::EmptiedFolder
            | Kind::FolderGone
            | Kind::CopiedFolder
            | Kind::MissingTrigger
            | Kind::MissingStep
            | Kind::MissingConfigMap => CHANGES
                .into_iter()
                .filter(|change| change.kind() == kind)
                .map(|change| Self::Manifests(change, change.at_least() + any_time(chance)))
                .collect(),
            Kind::OtherManifests => ["touchpoints-created", "user-saved", "customer-saved"]
                .map(|step| Self::OtherManifests(step, Duration::from_secs(4) + any_time(chance)))
                .to_vec(),
            Kind::FreezeServer => [Server::Broker, Server::Database]
                .into_iter()
                .filter(|server| broker || *server != Server::Broker)
                .map(|server| Self::FreezeServer(server, Duration::from_secs(2) + any_time(chance)))
                .collect(),
            Kind::LockedHistory => vec![Self::Plain(kind, Duration::from_secs(chance.u64(8..=25)))],
            Kind::LockedRows | Kind::WrongCluster => {
                vec![Self::Plain(kind, Duration::from_secs(4) + any_time(chance))]
            }
            Kind::FreezeDispatcher => dispatchers()
                .map(|number| Self::FreezeDispatcher(number, Duration::from_secs(8) + any_time(chance)))
                .collect(),
            _ => vec![Self::Plain(kind, any_time(chance))],
        }
    }
}

fn vendor_modes(kind: Kind) -> &'static [vendor::Mode] {
    use vendor::Mode::{AcceptThenHang, Cut, Deep, Endless, Garbage, Hang, Says, Status};
    match kind {
        Kind::YesThatMeansNo => &[
            Says("invalid_payload"),
            Says(r#"{"ok": false, "error": "channel_not_found"}"#),
            Says(r#"{"success": false, "id": "1"}"#),
        ],
        Kind::VendorElsewhere => &[Status(302), Status(401), Status(422)],
        Kind::VendorFloods => &[Endless, Deep],
        _ => &[Status(500), Status(503), Status(429), Hang, AcceptThenHang, Garbage, Cut],
    }
}

fn mail_modes(kind: Kind) -> &'static [smtp::Mode] {
    use smtp::Mode::{
        AcceptThenClose, AcceptThenHang, Hang, HangAtQuit, Refuse4xx, Refuse5xx, RefuseMarketing,
    };
    match kind {
        Kind::MailCutAtEnd => &[AcceptThenClose],
        Kind::MailToOneRefused => &[RefuseMarketing],
        Kind::MailRefused => &[Refuse5xx],
        _ => &[Refuse4xx, Hang, AcceptThenHang, HangAtQuit],
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
            Self::FreezeDispatcher(number, time) => write!(f, "freeze dispatcher {number} for {time:?}"),
            Self::FreezeServer(server, time) => write!(f, "freeze the {server:?} for {time:?}"),
            Self::OtherManifests(step, time) => {
                write!(f, "a further dispatcher that lacks {step} for {time:?}")
            }
            Self::Plain(kind, time) => write!(f, "{} for {time:?}", kind.words()),
        }
    }
}
