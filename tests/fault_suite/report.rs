//! The report: one for people, one for machines.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::books::Books;
use crate::echo::Repeated;
use crate::fault::Kind;
use crate::options::Options;

/// Secrets of the stage: none may be in a log.
const SECRETS: [&str; 2] = ["vendor-token", "a password & more"];

/// Every e-mail address of the run ends with it.
const DOMAIN: &str = "@x.example";

/// Every address to ship to is there.
const STREET: &str = "Quayside";

/// A fault that was carried out.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    pub(crate) kind: Kind,
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
    pub(crate) history: Vec<String>,
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
    /// Addresses in logs that are not masked.
    pub(crate) addresses_in_logs: usize,
    /// What the history says otherwise than the books.
    pub(crate) history: Vec<String>,
    /// Kinds of faults that were carried out and never met anything: the run proves nothing about them.
    pub(crate) without_effect: Vec<Kind>,
    /// Workers that the faults killed, by step.
    pub(crate) workers_killed: BTreeMap<String, usize>,
    pub(crate) faults: Vec<Done>,
}

impl Report {
    pub(crate) fn new(options: &Options, seed: u64, books: Books, course: Course) -> Self {
        let Course { faults, repeated, replayed, dispatchers_ended, history, logs, took } = course;
        let secrets_in_logs = SECRETS.iter().map(|secret| logs.matches(secret).count()).sum();
        let addresses_in_logs =
            logs.match_indices(DOMAIN).filter(|(at, _)| !logs[..*at].ends_with("***")).count()
                + logs.matches(STREET).count();
        let without_effect: Vec<_> = options
            .kinds()
            .into_iter()
            .filter(|kind| {
                let mut all = faults.iter().filter(|done| done.kind == *kind).peekable();
                all.peek().is_some() && all.all(|done| !done.hit)
            })
            .collect();
        let balanced = books.balance()
            && dispatchers_ended.is_empty()
            && secrets_in_logs + addresses_in_logs == 0
            && history.is_empty()
            && without_effect.is_empty()
            && repeated.once == 0;
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
            addresses_in_logs,
            history,
            without_effect,
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
            ("dead for good", books.dead),
            ("dead letters left of those that are done", books.letters_left),
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
        writeln!(f, "logs of the dispatchers")?;
        writeln!(f, "{:>6}  secrets", self.secrets_in_logs)?;
        writeln!(f, "{:>6}  addresses that are not masked", self.addresses_in_logs)?;
        let kinds: Vec<_> = self.without_effect.iter().map(ToString::to_string).collect();
        for (what, list) in [
            ("lost", &books.lost),
            ("doubled", &books.doubled),
            ("twice at a time", &books.doubled_jobs),
            ("forged", &books.forged),
            ("hostile and lost", &hostile.lost),
            ("a dispatcher ended by itself", &self.dispatchers_ended),
            ("history", &self.history),
            ("never had an effect, so nothing is proven about it", &kinds),
        ] {
            for one in list.iter().take(20) {
                writeln!(f, "{what}: {one}")?;
            }
        }
        let verdict = match (self.balanced, self.books.balance()) {
            (true, _) => "the books balance",
            (false, true) => "the books balance, BUT NOT ALL IS WELL",
            (false, false) => "the books DO NOT BALANCE",
        };
        f.write_str(verdict)
    }
}
