//! One run: sets up stage and fleet, and carries out the schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tests::nats::Stored;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::dispatchers::Fleet;
use crate::duplicate_delivery::Echo;
use crate::fault::{Fault, Kind, Server};
use crate::hostile::{Hostile, SOMEBODY};
use crate::invariants::Books;
use crate::manifests::Manifests;
use crate::options::{BusName, Options};
use crate::publisher::Publisher;
use crate::registration::Registration;
use crate::report::{Course, Done, Report};
use crate::schedule::{Round, schedule};
use crate::servers::Stage;

/// How long the load of a round takes.
const LOAD: Duration = Duration::from_millis(900);

/// How long the load runs before its fault.
const HEAD_START: Duration = Duration::from_millis(300);

pub(crate) struct Suite<'a> {
    pub(crate) options: &'a Options,
    pub(crate) stage: Stage,
    pub(crate) manifests: Manifests,
    pub(crate) fleet: Fleet,
    echo: Echo,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) registrations: Vec<Registration>,
    pub(crate) hostile: Vec<Hostile>,
    /// Jobs that were seen running twice at the same time.
    pub(crate) doubled_jobs: BTreeSet<String>,
    /// False statements that were reported.
    pub(crate) false_states: BTreeSet<String>,
    /// When an effect at this server may have taken place without a record, in seconds since 1970.
    pub(crate) excuses: Vec<Excuse>,
    /// What may be missing in the bus when the books are made.
    pub(crate) kept: Kept,
    /// The bus has lost events, and their publisher must publish some of them again.
    pub(crate) lost_events: bool,
    /// Dead letters of registrations that were replayed, by class.
    pub(crate) died_of: BTreeMap<String, usize>,
}

/// What was in the bus before some of it was removed.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) events: Vec<Stored>,
    pub(crate) letters: Vec<Value>,
}

/// A time in which an effect at this server may have taken place without an entry in the ledger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excuse {
    pub(crate) server: Server,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// Carries out the schedule of this seed and makes the books.
pub(crate) fn run(options: &Options, seed: u64) -> Result<Report, String> {
    let began = Instant::now();
    let clock = options.kinds().contains(&Kind::ClockJump).then(Clock::new).transpose()?;
    let disk = Disk::new();
    if options.kinds().contains(&Kind::FullDisk) {
        disk.check()?;
    }
    let (stage, manifests) = (Stage::new(), Manifests::new());
    let fleet = Fleet::start(options, &stage, &manifests.folder(), disk, clock);
    let (publisher, echo) = match options.bus {
        BusName::Jetstream => (Publisher::on(&stage.broker), Echo::of_broker(&stage.broker)),
        BusName::Embedded => (Publisher::Http(fleet.port()), Echo::of_queue(&fleet.queue())),
    };
    let mut suite = Suite {
        options,
        stage,
        manifests,
        fleet,
        echo,
        publisher: Arc::new(publisher),
        registrations: Vec::new(),
        hostile: Vec::new(),
        doubled_jobs: BTreeSet::new(),
        false_states: BTreeSet::new(),
        excuses: Vec::new(),
        kept: Kept::default(),
        lost_events: false,
        died_of: BTreeMap::new(),
    };
    let tell = |words: &str| eprintln!("[{:>4} s] {words}", began.elapsed().as_secs());
    let rounds = schedule(options, seed);
    let total = rounds.len();
    let mut faults = Vec::new();
    for (number, round) in rounds.into_iter().enumerate() {
        let what = round.fault.as_ref().map_or_else(|| "no fault".to_owned(), ToString::to_string);
        tell(&format!("round {} of {total}: {what}", number + 1));
        faults.extend(suite.round(round));
    }
    tell("all faults are over: waiting until nothing moves");
    let replayed = suite.settle();
    tell("nothing moves: making the books");
    let evidence = suite.evidence();
    let mut books =
        Books::make(&suite.registrations, &suite.hostile, &suite.doubled_jobs, &evidence, options.bus);
    let history = suite.history_problems();
    books.false_states = std::mem::take(&mut suite.false_states).into_iter().collect();
    let died_of = std::mem::take(&mut suite.died_of);
    let repeated = suite.echo.finish(&suite.stage.broker);
    let dispatchers_ended = suite.fleet.ended();
    let logs = suite.fleet.finish();
    let course = Course {
        faults,
        repeated,
        replayed,
        died_of,
        dispatchers_ended,
        history,
        logs,
        took: began.elapsed(),
    };
    Ok(Report::new(options, seed, books, course))
}

impl Suite<'_> {
    /// The fault comes in the middle of the load, so that it affects work in progress.
    fn round(&mut self, round: Round) -> Option<Done> {
        let Round { registrations, hostile, fault } = round;
        let load = self.mix(registrations, hostile);
        let publisher = Arc::clone(&self.publisher);
        let (done, taken) = std::thread::scope(|scope| {
            let load = scope.spawn(move || publish(&publisher, load));
            let done = fault.map(|fault| {
                std::thread::sleep(HEAD_START);
                let from = now();
                let done = self.carry_out(fault);
                self.excuse(fault, from);
                done
            });
            (done, load.join().expect("the load is published"))
        });
        for message in taken {
            match message {
                Message::Ours(one) => self.registrations.push(one),
                Message::Theirs(one) => self.hostile.push(one),
            }
        }
        self.repeat_lost();
        self.look_for_doubled_jobs();
        self.look_for_false_states();
        done
    }

    /// Where an effect may have taken place while its worker or the connection ended.
    fn excuse(&mut self, fault: Fault, from: f64) {
        for server in [Server::Mail, Server::Vendor] {
            if fault.kind().may_repeat() || fault.disturbs(server) {
                self.excuses.push(Excuse { server, from, to: now() });
            }
        }
    }

    /// Hostile events must not stop valid ones: some come before each registration, and some after.
    fn mix(&self, registrations: Vec<Registration>, hostile: Vec<Hostile>) -> Vec<Message> {
        let victim = self.somebody();
        let each = hostile.len().div_ceil(registrations.len().max(1));
        let mut hostile = hostile.into_iter().filter_map(|one| self.aimed(one, victim.as_deref()));
        let mut all = Vec::new();
        for one in registrations {
            all.extend(hostile.by_ref().take(each / 2).map(Message::Theirs));
            all.push(Message::Ours(one));
            all.extend(hostile.by_ref().take(each - each / 2).map(Message::Theirs));
        }
        all.extend(hostile.map(Message::Theirs));
        all
    }

    /// The message with its victim's name. `None` if it cannot be published, or there is no victim yet.
    fn aimed(&self, mut one: Hostile, victim: Option<&str>) -> Option<Hostile> {
        if one.broker_only && self.options.bus == BusName::Embedded {
            return None;
        }
        if one.takes_over {
            one.payload = String::from_utf8_lossy(&one.payload).replace(SOMEBODY, victim?).into_bytes();
        }
        Some(one)
    }

    /// The id of a saved customer.
    fn somebody(&self) -> Option<String> {
        let rows =
            self.stage.database.try_rows("SELECT id FROM customers WHERE saved_at IS NOT NULL").ok()?;
        let ours = rows.into_iter().filter_map(|mut row| row.remove("id"));
        ours.into_iter().find(|id| self.registrations.iter().any(|one| one.customer.to_string() == *id))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// One message of the load.
enum Message {
    Ours(Registration),
    Theirs(Hostile),
}

/// Publishes the messages over some time. Returns those that were accepted.
fn publish(publisher: &Publisher, load: Vec<Message>) -> Vec<Message> {
    let pause = LOAD / u32::try_from(load.len().max(1)).expect("a number");
    let mut taken = Vec::new();
    for message in load {
        // Wait first, so that a single one is published during its fault.
        std::thread::sleep(pause);
        let is_taken = match &message {
            Message::Ours(one) => {
                publisher.publish("customer-registered", &[], one.event.to_string().as_bytes())
            }
            Message::Theirs(one) => publisher.publish(one.subject, &one.headers, &one.payload),
        };
        // A refused registration is missing in the books.
        if is_taken || matches!(message, Message::Ours(_)) {
            taken.push(message);
        }
    }
    taken
}
