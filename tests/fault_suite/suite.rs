//! One run: the stage, the fleet, and the schedule carried out on them.

use std::time::{Duration, Instant};

use tests::program::Program;
use tests::proxy::Mode;
use tests::{http, smtp, vendor, wait};

use crate::books::{Books, Evidence};
use crate::clock::Clock;
use crate::echo::Echo;
use crate::fault::{Fault, Kind, Point};
use crate::fleet::{Fleet, WORKERS};
use crate::hostile::{Hostile, SOMEBODY};
use crate::manifests::Manifests;
use crate::options::{BusName, Options};
use crate::publisher::Publisher;
use crate::registration::Registration;
use crate::report::{Done, Report};
use crate::schedule::{Round, schedule};
use crate::stage::Stage;

/// How long the load runs before its fault: the events are then on their way.
const HEAD_START: Duration = Duration::from_millis(300);

/// How long a worker may take to come to the point at which it is killed.
const AT_POINT: Duration = Duration::from_secs(4);

/// How often dead letters of registrations are replayed when all faults are over.
const REPLAYS: usize = 3;

pub(crate) struct Suite<'a> {
    options: &'a Options,
    stage: Stage,
    manifests: Manifests,
    fleet: Fleet,
    publisher: Publisher,
    registrations: Vec<Registration>,
    hostile: Vec<Hostile>,
}

/// Carries out the schedule of this seed and makes the books.
pub(crate) fn run(options: &Options, seed: u64) -> Result<Report, String> {
    let began = Instant::now();
    let clock = options.kinds().contains(&Kind::ClockJump).then(|| Clock::new(&WORKERS)).transpose()?;
    let (stage, manifests) = (Stage::new(), Manifests::new());
    let fleet = Fleet::start(options, &stage, &manifests.folder(), clock);
    let (publisher, echo) = match options.bus {
        BusName::Jetstream => (Publisher::on(&stage.broker), Some(Echo::start(&stage.broker))),
        BusName::Embedded => (Publisher::Http(fleet.port()), None),
    };
    let mut suite =
        Suite { options, stage, manifests, fleet, publisher, registrations: vec![], hostile: vec![] };
    let rounds = schedule(options, seed);
    let total = rounds.len();
    let mut done = Vec::new();
    for (number, round) in rounds.into_iter().enumerate() {
        let what = round.fault.as_ref().map_or_else(|| "no fault".to_owned(), ToString::to_string);
        eprintln!("[{:>4} s] round {} of {total}: {what}", began.elapsed().as_secs(), number + 1);
        done.extend(suite.round(round));
    }
    if let Some(echo) = &echo {
        eprintln!("[{:>4} s] {} events were delivered again", began.elapsed().as_secs(), echo.count());
    }
    eprintln!("[{:>4} s] all faults are over: waiting until nothing moves", began.elapsed().as_secs());
    let replayed = suite.settle();
    // Over HTTP every event is handed in twice.
    let handed_in = suite.registrations.len() + suite.hostile.len();
    let repeated = echo.map_or(handed_in as u64, |echo| {
        let count = echo.count();
        echo.finish();
        count
    });
    let evidence = suite.evidence();
    let books = Books::make(&suite.registrations, &suite.hostile, &evidence, options.bus);
    let ended_early = suite.fleet.ended();
    let logs = suite.fleet.finish();
    Ok(Report::new(options, seed, books, done, repeated, replayed, ended_early, &logs, began.elapsed()))
}

impl Suite<'_> {
    fn round(&mut self, round: Round) -> Option<Done> {
        let Round { registrations, hostile, fault } = round;
        self.load(registrations, hostile);
        let fault = fault?;
        std::thread::sleep(HEAD_START);
        let words = fault.to_string();
        let hit = self.carry_out(fault);
        Some(Done { fault: words, hit })
    }

    /// Publishes, mixed: what is hostile must not stop what is not.
    fn load(&mut self, registrations: Vec<Registration>, hostile: Vec<Hostile>) {
        let victim = self.somebody();
        let per_registration = hostile.len().div_ceil(registrations.len().max(1));
        let mut hostile = hostile.into_iter();
        for registration in registrations {
            self.publisher.publish("customer-registered", registration.event.to_string().as_bytes());
            self.registrations.push(registration);
            self.harm(hostile.by_ref().take(per_registration), victim.as_deref());
        }
        self.harm(hostile, victim.as_deref());
    }

    fn harm(&mut self, hostile: impl Iterator<Item = Hostile>, victim: Option<&str>) {
        for mut one in hostile {
            if one.takes_over {
                let Some(victim) = victim else { continue };
                one.payload = String::from_utf8_lossy(&one.payload).replace(SOMEBODY, victim).into_bytes();
            }
            if self.publisher.publish(one.subject, &one.payload) {
                self.hostile.push(one);
            }
        }
    }

    /// The id of a customer who is saved.
    fn somebody(&self) -> Option<String> {
        let rows =
            self.stage.database.try_rows("SELECT id FROM customers WHERE saved_at IS NOT NULL").ok()?;
        let ours = rows.into_iter().filter_map(|mut row| row.remove("id"));
        ours.into_iter().find(|id| self.registrations.iter().any(|one| one.customer.to_string() == *id))
    }

    /// Breaks, waits, and mends. True where it met what it was meant for.
    fn carry_out(&mut self, fault: Fault) -> bool {
        let stage = &mut self.stage;
        match fault {
            Fault::KillAtPoint(point) => return self.kill_at(point),
            Fault::KillWorkers => {
                return wait::within(AT_POINT, || (self.fleet.kill_workers() > 0).then_some(())).is_some();
            }
            Fault::KillDispatcher(number) => {
                self.fleet.kill(number);
                self.fleet.start_missing();
            }
            Fault::KillDispatchers => {
                self.fleet.kill_all();
                self.fleet.start_missing();
            }
            Fault::StopDispatcher(number) => {
                self.fleet.stop(number);
                self.fleet.start_missing();
            }
            Fault::StopServer(server, time) => stage.restart(server, time),
            Fault::SilentServer(server, time) => hold(stage, server, &Mode::Silent, time),
            Fault::SlowServer(server, delay, time) => hold(stage, server, &Mode::Delay(delay), time),
            Fault::Garbage(server, time) => hold(stage, server, &Mode::Garbage, time),
            Fault::Cut(server, bytes, time) => hold(stage, server, &Mode::Cut(bytes), time),
            Fault::Vendor(mode, time) => {
                stage.vendor.set(mode);
                std::thread::sleep(time);
                stage.vendor.set(vendor::Mode::Ok);
            }
            Fault::Mail(mode, time) => {
                stage.mail.set(mode);
                std::thread::sleep(time);
                stage.mail.set(smtp::Mode::Accept);
            }
            Fault::FullDisk(time) => {
                let full = self.fleet.disk().fill();
                std::thread::sleep(time);
                return full.is_some();
            }
            Fault::ClockJump(seconds, time) => {
                let Some(clock) = self.fleet.clock() else { return false };
                clock.set(seconds);
                std::thread::sleep(time);
                clock.set(0);
            }
            Fault::Manifests(change, time) => {
                self.manifests.change(change);
                std::thread::sleep(time);
                self.manifests.restore();
            }
        }
        true
    }

    fn kill_at(&self, point: Point) -> bool {
        let proxy = self.stage.before_workers(point.server);
        proxy.set(if point.after { Mode::HoldAfter(point.words) } else { Mode::HoldBefore(point.words) });
        let reached = wait::within(AT_POINT, || proxy.reached().then_some(())).is_some();
        let killed = self.fleet.kill_workers();
        proxy.set(Mode::Refuse);
        proxy.set(Mode::Pass);
        reached && killed > 0
    }

    /// Waits until every registration is at its end or nothing moves any more; replays what died of the faults.
    fn settle(&mut self) -> usize {
        let mut replayed = 0;
        for attempt in 0..=REPLAYS {
            self.until_still();
            let letters = self.dead_letters();
            let ours = |letter: &&serde_json::Value| {
                self.registrations.iter().any(|one| crate::books::concerns(letter, one))
            };
            let numbers: Vec<_> =
                letters.iter().filter(ours).map(|letter| letter["number"].to_string()).collect();
            if numbers.is_empty() || attempt == REPLAYS {
                break;
            }
            replayed += numbers.len();
            for numbers in numbers.chunks(100) {
                let program = self.command(&["dead-letters", "replay"]);
                numbers.iter().fold(program, Program::argument).run_to(0);
            }
        }
        replayed
    }

    fn until_still(&mut self) {
        let mut last = (self.progress(), Instant::now());
        while last.1.elapsed() < self.options.patience() {
            std::thread::sleep(Duration::from_millis(500));
            let now = self.progress();
            // Twice, because an event on its way to be repeated is in no queue.
            if now == last.0 && now.waiting == Some(0) {
                return;
            }
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        eprintln!("nothing has moved for {:?}: {:?}", self.options.patience(), last.0);
    }

    fn progress(&self) -> Progress {
        let database = &self.stage.database;
        let waiting = match self.options.bus {
            BusName::Jetstream => self.stage.broker.unanswered(),
            BusName::Embedded => queued(self.fleet.port()),
        };
        Progress {
            handled: database.count("handled_events"),
            onboarded: database.count("customers WHERE onboarded_at IS NOT NULL"),
            waiting,
        }
    }

    fn evidence(&self) -> Evidence {
        Evidence::gather(
            &self.stage,
            self.dead_letters(),
            self.options.bus,
            self.progress().waiting.unwrap_or(1),
        )
    }

    fn dead_letters(&self) -> Vec<serde_json::Value> {
        let listed = self.command(&["dead-letters", "list", "--output", "json"]).run_to(0);
        listed
            .output
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|line: &serde_json::Value| line["number"].is_u64())
            .collect()
    }

    fn command(&self, arguments: &[&str]) -> Program {
        let mut program = Program::dispatcher().settings(self.stage.direct_settings());
        if self.options.bus == BusName::Embedded {
            let queue = self.fleet.disk().path().join("queue.db");
            program = program.set("DISPATCHER_BUS", "embedded").set("DISPATCHER_QUEUE", &queue.display());
        }
        arguments.iter().fold(program, Program::argument)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    handled: usize,
    onboarded: usize,
    /// Not answered yet; `None` where that cannot be seen.
    waiting: Option<u64>,
}

fn hold(stage: &Stage, server: crate::fault::Server, mode: &Mode, time: Duration) {
    stage.set(server, mode);
    std::thread::sleep(time);
    stage.set(server, &Mode::Pass);
}

/// Messages in the embedded bus, as the dispatcher counts them.
fn queued(port: u16) -> Option<u64> {
    let metrics = http::get(port, "/metrics").ok()?.body;
    let found: Vec<u64> = metrics
        .lines()
        .filter(|line| {
            line.starts_with("dispatcher_bus_waiting") || line.starts_with("dispatcher_bus_in_flight")
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    (!found.is_empty()).then(|| found.iter().sum())
}
