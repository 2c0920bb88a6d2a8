//! The report: one for people, one for machines.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::duplicate_delivery::Repeated;
use crate::fault::Kind;
use crate::invariants::Books;
use crate::options::Options;

/// The stage's secrets; no log may contain one.
const SECRETS: [&str; 2] = ["vendor-token", "a password & more"];

/// Every e-mail address of the run ends like this.
const DOMAIN: &str = "@x.example";

/// Every delivery address is there.
const STREET: &str = "Quayside";

/// The class of an event that a worker has refused for good.
const REFUSED: &str = "PodFailurePolicy";

/// A fault that was carried out.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    pub(crate) kind: Kind,
    pub(crate) fault: String,
    /// Whether it had its effect.
    pub(crate) hit: bool,
    /// Workers that it killed, by step.
    pub(crate) killed: BTreeMap<String, usize>,
}

/// What happened during the run.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) faults: Vec<Done>,
    pub(crate) repeated: Repeated,
    pub(crate) replayed: usize,
    pub(crate) died_of: BTreeMap<String, usize>,
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
    /// Events that the suite delivered twice.
    pub(crate) repeated: Repeated,
    /// Dead letters of registrations that were replayed after all faults.
    pub(crate) replayed: usize,
    /// Their classes.
    pub(crate) died_of: BTreeMap<String, usize>,
    /// Those of them that no fault explains.
    pub(crate) died_in_vain: usize,
    pub(crate) dispatchers_ended: Vec<String>,
    pub(crate) secrets_in_logs: usize,
    /// Addresses in logs that are not masked.
    pub(crate) addresses_in_logs: usize,
    /// Where the history differs from the books.
    pub(crate) history: Vec<String>,
    /// Kinds of faults without any effect: the run proves nothing about them.
    pub(crate) without_effect: Vec<Kind>,
    /// Workers that the faults killed, by step.
    pub(crate) workers_killed: BTreeMap<String, usize>,
    pub(crate) faults: Vec<Done>,
}

impl Report {
    pub(crate) fn new(options: &Options, seed: u64, books: Books, course: Course) -> Self {
        let Course { faults, repeated, replayed, died_of, dispatchers_ended, history, logs, took } = course;
        let explained = |class: &str| class == REFUSED && faults.iter().any(|done| done.kind.may_refuse());
        let died_in_vain =
            died_of.iter().filter(|(class, _)| !explained(class)).map(|(_, count)| count).sum();
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
            && died_in_vain == 0
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
            died_of,
            died_in_vain,
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
            ("states reported that were not true", books.false_states.len()),
            ("dead letters replayed on the way", self.replayed),
            ("dead letters that no fault explains", self.died_in_vain),
        ] {
            writeln!(f, "{count:>6}  {what}")?;
        }
        for (class, count) in &self.died_of {
            writeln!(f, "{count:>6}  replayed of class {class}")?;
        }
        writeln!(f, "hostile events")?;
        let hostile = &books.hostile;
        for (what, count) in [
            ("published", hostile.published),
            ("dead letters", hostile.dead),
            ("handled", hostile.handled),
            ("lost", hostile.lost.len()),
            ("of another class than they should be", hostile.wrong_class.len()),
        ] {
            writeln!(f, "{count:>6}  {what}")?;
        }
        for (class, count) in &hostile.classes {
            writeln!(f, "{count:>6}  dead letters of class {class}")?;
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
            ("not true", &books.false_states),
            ("hostile and lost", &hostile.lost),
            ("of a wrong class", &hostile.wrong_class),
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
