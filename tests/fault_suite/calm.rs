//! After the faults: waiting until nothing moves, replaying what died of them, and gathering what the books are made of.

use std::time::{Duration, Instant};

use tests::http;
use tests::program::Program;

use crate::books::Evidence;
use crate::echo::Echo;
use crate::options::BusName;
use crate::suite::Suite;

/// How often dead letters of registrations are replayed when all faults are over.
const REPLAYS: usize = 3;

impl Suite<'_> {
    /// Waits until every registration is at its end or nothing moves any more; sees to it that every event came twice,
    /// and replays what died of the faults.
    pub(crate) fn settle(&mut self) -> usize {
        let mut replayed = 0;
        for attempt in 0..=REPLAYS {
            self.until_still();
            if self.options.bus == BusName::Jetstream && Echo::repeat_missed(&self.stage.broker) > 0 {
                self.until_still();
            }
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
            self.look_for_doubled_jobs();
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

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::gather(
            &self.stage,
            &self.hostile,
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
    /// Not answered yet; `None` where that cannot be seen.
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
