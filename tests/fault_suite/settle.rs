//! After the faults: waits until nothing changes any more, replays dead letters that the faults have caused, and
//! collects the data for the books.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::http;
use tests::program::Program;

use crate::duplicate_delivery::Echo;
use crate::invariants::{Evidence, flow_of};
use crate::options::BusName;
use crate::registration::Registration;
use crate::suite::Suite;

/// How often dead letters of registrations are replayed after all faults.
const REPLAYS: usize = 3;

/// How long dispatchers may take to find what the bus has lost.
const OUTBOX: Duration = Duration::from_secs(100);

impl Suite<'_> {
    /// Waits until every registration has reached its end, or nothing changes any more. Makes sure that every event
    /// came twice, and replays dead letters that the faults have caused.
    pub(crate) fn settle(&mut self) -> usize {
        let mut replayed = 0;
        for attempt in 0..=REPLAYS {
            self.until_still();
            if self.options.bus == BusName::Jetstream && Echo::repeat_missed(&self.stage.broker) > 0 {
                self.until_still();
            }
            let letters = self.dead_letters();
            let ids: BTreeSet<_> = self.registrations.iter().map(|one| &one.event_id).collect();
            let is_ours = |letter: &&Value| flow_of(letter).iter().any(|id| ids.contains(id));
            let letters: Vec<_> = letters.iter().filter(is_ours).collect();
            let numbers: Vec<_> = letters.iter().map(|letter| letter["number"].to_string()).collect();
            for letter in letters {
                let class = letter["class"].as_str().unwrap_or_default().to_owned();
                *self.died_of.entry(class).or_default() += 1;
            }
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
            self.look_for_doubled_jobs();
            self.look_for_false_states();
            let now = self.progress();
            // Checked twice, because an event that is about to be repeated is in no queue.
            if now == last.0 && now.waiting == Some(0) && !self.is_outbox_awaited(last.1.elapsed()) {
                return;
            }
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        eprintln!("nothing has moved for {:?}: {:?}", self.options.patience(), last.0);
    }

    /// After a loss of events, dispatchers compare outbox and bus every minute, so give them time.
    fn is_outbox_awaited(&self, still: Duration) -> bool {
        let on_their_way = || {
            let query = "SELECT id FROM customers WHERE onboarded_at IS NOT NULL";
            let rows = self.stage.database.rows(query).into_iter();
            let onboarded: BTreeSet<_> = rows.filter_map(|mut row| row.remove("id")).collect();
            let dead: BTreeSet<_> = self.dead_letters().iter().flat_map(flow_of).collect();
            let waits = |one: &Registration| {
                !onboarded.contains(&one.customer.to_string()) && !dead.contains(&one.event_id)
            };
            self.registrations.iter().any(waits)
        };
        !self.kept.events.is_empty() && still < OUTBOX && on_their_way()
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

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::gather(self, self.dead_letters(), self.progress().waiting.unwrap_or(1))
    }

    /// Those that exist, and those that existed.
    pub(crate) fn all_letters(&self) -> Vec<Value> {
        let mut letters = self.dead_letters();
        letters.extend(self.kept.letters.iter().cloned());
        letters
    }

    pub(crate) fn dead_letters(&self) -> Vec<Value> {
        self.command(&["dead-letters", "list", "--output", "json"]).run_to(0).dead_letters()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Program {
        let mut program = Program::dispatcher().settings(self.stage.direct_settings());
        if self.options.bus == BusName::Embedded {
            let queue = self.fleet.queue();
            program = program.set("DISPATCHER_BUS", "embedded").set("DISPATCHER_QUEUE", &queue.display());
        }
        arguments.iter().fold(program, Program::argument)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    handled: usize,
    onboarded: usize,
    /// Messages without an answer yet; `None` if that cannot be seen.
    waiting: Option<u64>,
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
