//! The report: one for people, one for machines.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::books::Books;
use crate::echo::Repeated;
use crate::options::Options;

/// Secrets of the stage: none may be in a log.
const SECRETS: [&str; 2] = ["vendor-token", "a password & more"];

/// A fault that was carried out.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    pub(crate) fault: String,
    /// Whether it met what it was meant for.
    pub(crate) hit: bool,
    /// Workers that it killed, by step.
    pub(crate) killed: BTreeMap<String, usize>,
}

/// What happened on the way to the books.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) faults: Vec<Done>,
    pub(crate) repeated: Repeated,
    pub(crate) replayed: usize,
    pub(crate) dispatchers_ended: Vec<String>,
    pub(crate) logs: String,
    pub(crate) took: Duration,
}

/// Everything about a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) backend: String,
    pub(crate) bus: String,
    pub(crate) dispatchers: usize,
    pub(crate) seconds: u64,
    pub(crate) balanced: bool,
    pub(crate) books: Books,
    /// Events that the suite delivered a second time.
    pub(crate) repeated: Repeated,
    /// Dead letters of registrations that were replayed when all faults were over.
    pub(crate) replayed: usize,
    pub(crate) dispatchers_ended: Vec<String>,
    pub(crate) secrets_in_logs: usize,
    /// Workers that the faults killed, by step.
    pub(crate) workers_killed: BTreeMap<String, usize>,
    pub(crate) faults: Vec<Done>,
}

impl Report {
    pub(crate) fn new(options: &Options, seed: u64, books: Books, course: Course) -> Self {
        let Course { faults, repeated, replayed, dispatchers_ended, logs, took } = course;
        let secrets_in_logs = SECRETS.iter().map(|secret| logs.matches(secret).count()).sum();
        let balanced =
            books.balance() && dispatchers_ended.is_empty() && secrets_in_logs == 0 && repeated.once == 0;
        let mut workers_killed = BTreeMap::new();
        for (step, count) in faults.iter().flat_map(|done| &done.killed) {
            *workers_killed.entry(step.clone()).or_default() += count;
        }
        Self {
            seed,
            backend: format!("{:?}", options.backend).to_lowercase(),
            bus: format!("{:?}", options.bus).to_lowercase(),
            dispatchers: options.dispatcher_count(),
            seconds: took.as_secs(),
            balanced,
            books,
            repeated,
            replayed,
            dispatchers_ended,
            secrets_in_logs,
            workers_killed,
            faults,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = &self.books;
        writeln!(
            f,
            "{} bus, {} backend, {} dispatchers, seed {}, {} s",
            self.bus, self.backend, self.dispatchers, self.seed, self.seconds
        )?;
        let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for done in &self.faults {
            let kind = done.fault.split(" for ").next().unwrap_or_default().to_owned();
            let count = kinds.entry(kind).or_default();
            count.0 += 1;
            count.1 += usize::from(done.hit);
        }
        for (kind, (count, hit)) in kinds {
            let missed =
                if hit < count { format!(", {} without effect", count - hit) } else { String::new() };
            writeln!(f, "  {count:>4}  {kind}{missed}")?;
        }
        writeln!(f, "workers killed")?;
        for (step, count) in &self.workers_killed {
            writeln!(f, "{count:>6}  {step}")?;
        }
        writeln!(f, "events")?;
        writeln!(f, "{:>6}  delivered twice", self.repeated.twice)?;
        writeln!(f, "{:>6}  delivered once", self.repeated.once)?;
        writeln!(f, "registrations")?;
        for (what, count) in [
            ("published", books.published),
            ("done", books.done),
            ("dead letters", books.dead),
            ("waiting", books.waiting),
            ("lost", books.lost.len()),
            ("effects doubled", books.doubled.len()),
            ("Jobs run twice at a time", books.doubled_jobs.len()),
            ("forged", books.forged.len()),
            ("replayed on the way", self.replayed),
        ] {
            writeln!(f, "{count:>6}  {what}")?;
        }
        writeln!(f, "hostile events")?;
        let hostile = &books.hostile;
        for (what, count) in [
            ("published", hostile.published),
            ("dead letters", hostile.dead),
            ("handled", hostile.handled),
            ("lost", hostile.lost.len()),
        ] {
            writeln!(f, "{count:>6}  {what}")?;
        }
        if self.secrets_in_logs > 0 {
            writeln!(f, "{:>6}  secrets in logs", self.secrets_in_logs)?;
        }
        for (what, list) in [
            ("lost", &books.lost),
            ("doubled", &books.doubled),
            ("twice at a time", &books.doubled_jobs),
            ("forged", &books.forged),
            ("hostile and lost", &hostile.lost),
            ("a dispatcher ended by itself", &self.dispatchers_ended),
        ] {
            for one in list.iter().take(20) {
                writeln!(f, "{what}: {one}")?;
            }
        }
        write!(f, "the books {}", if self.balanced { "balance" } else { "DO NOT BALANCE" })
    }
}
