//! One run: the stage, the fleet, and the schedule carried out on them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::books::Books;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::echo::Echo;
use crate::fault::Kind;
use crate::fleet::Fleet;
use crate::hostile::{Hostile, SOMEBODY};
use crate::manifests::Manifests;
use crate::options::{BusName, Options};
use crate::publisher::Publisher;
use crate::registration::Registration;
use crate::report::{Course, Done, Report};
use crate::schedule::{Round, schedule};
use crate::stage::Stage;

/// How long the load runs before its fault: the events are then on their way.
const HEAD_START: Duration = Duration::from_millis(300);

pub(crate) struct Suite<'a> {
    pub(crate) options: &'a Options,
    pub(crate) stage: Stage,
    pub(crate) manifests: Manifests,
    pub(crate) fleet: Fleet,
    echo: Echo,
    publisher: Publisher,
    pub(crate) registrations: Vec<Registration>,
    pub(crate) hostile: Vec<Hostile>,
    /// Jobs that were seen to run twice at a time.
    pub(crate) doubled_jobs: BTreeSet<String>,
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
        publisher,
        registrations: Vec::new(),
        hostile: Vec::new(),
        doubled_jobs: BTreeSet::new(),
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
    let books =
        Books::make(&suite.registrations, &suite.hostile, &suite.doubled_jobs, &evidence, options.bus);
    let history = suite.history_problems();
    let repeated = suite.echo.finish(&suite.stage.broker);
    let dispatchers_ended = suite.fleet.ended();
    let logs = suite.fleet.finish();
    let course =
        Course { faults, repeated, replayed, dispatchers_ended, history, logs, took: began.elapsed() };
    Ok(Report::new(options, seed, books, course))
}

impl Suite<'_> {
    fn round(&mut self, round: Round) -> Option<Done> {
        let Round { registrations, hostile, fault } = round;
        self.load(registrations, hostile);
        let fault = fault?;
        std::thread::sleep(HEAD_START);
        let done = self.carry_out(fault);
        self.look_for_doubled_jobs();
        Some(done)
    }

    /// Publishes, mixed: what is hostile must not stop what is not.
    fn load(&mut self, registrations: Vec<Registration>, hostile: Vec<Hostile>) {
        let victim = self.somebody();
        let per_registration = hostile.len().div_ceil(registrations.len().max(1));
        let mut hostile = hostile.into_iter();
        for registration in registrations {
            self.publisher.publish("customer-registered", &[], registration.event.to_string().as_bytes());
            self.registrations.push(registration);
            self.harm(hostile.by_ref().take(per_registration), victim.as_deref());
        }
        self.harm(hostile, victim.as_deref());
    }

    fn harm(&mut self, hostile: impl Iterator<Item = Hostile>, victim: Option<&str>) {
        for mut one in hostile {
            if one.broker_only && self.options.bus == BusName::Embedded {
                continue;
            }
            if one.takes_over {
                let Some(victim) = victim else { continue };
                one.payload = String::from_utf8_lossy(&one.payload).replace(SOMEBODY, victim).into_bytes();
            }
            if self.publisher.publish(one.subject, &one.headers, &one.payload) {
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
}
