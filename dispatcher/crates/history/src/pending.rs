//! What is still to be written: reports about runs, by run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::run::Run;

/// How many runs may wait. Those that do not fit are counted, and looked for in the ledger later.
pub(super) const MOST: usize = 10_000;

/// How many reports about one run may wait. Of more, the newest count.
const MOST_WORDS: usize = 6;

/// When to try again to write a single run whose row is locked.
const AFTER_A_LOCK: Duration = Duration::from_secs(5);

/// A group of waiting runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Those that were never tried.
    New,
    /// Those whose batch has failed. They are kept apart, so that they do not delay new ones.
    Again,
}

#[derive(Debug)]
struct Entry {
    words: Vec<Run>,
    /// How many of the first ones are being written now.
    taken: usize,
    since: Instant,
    queue: Queue,
    due: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Pending(BTreeMap<String, Entry>);

impl Pending {
    /// Returns whether there was room.
    pub(super) fn add(&mut self, run: Run) -> bool {
        let now = Instant::now();
        let room = self.0.len() < MOST;
        match self.0.get_mut(&run.id) {
            Some(entry) => {
                let full = entry.words.len() >= MOST_WORDS;
                let free = entry.words.len() > entry.taken;
                match entry.words.last_mut().filter(|last| free && (full || run.ends(last))) {
                    Some(last) => *last = run,
                    None => entry.words.push(run),
                }
                true
            }
            None if !room => false,
            None => {
                let id = run.id.clone();
                let entry = Entry { words: vec![run], taken: 0, since: now, queue: Queue::New, due: now };
                self.0.insert(id, entry);
                true
            }
        }
    }

    /// The reports to write now: of at most `most` runs, and one of each run, because a server could not order two in
    /// one statement by their time.
    pub(super) fn take(&mut self, queue: Queue, most: usize) -> Vec<Run> {
        let now = Instant::now();
        let due = |entry: &&mut Entry| entry.queue == queue && entry.taken == 0 && entry.due <= now;
        let mut words = Vec::new();
        for entry in self.0.values_mut().filter(due).take(most) {
            entry.taken = 1;
            words.extend(entry.words.first().cloned());
        }
        words
    }

    /// Removes the reports that were written.
    pub(super) fn written(&mut self, words: &[Run]) {
        let now = Instant::now();
        self.each(words, |entry| {
            entry.words.drain(..entry.taken);
            (entry.since, entry.queue) = (now, Queue::New);
        });
        self.0.retain(|_, entry| !entry.words.is_empty());
    }

    /// Ends a write without a result; the reports stay as they are.
    pub(super) fn put_back(&mut self, words: &[Run]) {
        self.each(words, |_| {});
    }

    /// At least one of these cannot be written, and it is not known which.
    pub(super) fn set_apart(&mut self, words: &[Run]) {
        let alone = words.windows(2).all(|pair| pair[0].id == pair[1].id);
        let due = Instant::now() + if alone { AFTER_A_LOCK } else { Duration::ZERO };
        self.each(words, |entry| (entry.queue, entry.due) = (Queue::Again, due));
    }

    /// Drops these reports.
    pub(super) fn forget(&mut self, words: &[Run]) {
        self.written(words);
    }

    /// A writing task has ended.
    pub(super) fn release_all(&mut self) {
        for entry in self.0.values_mut() {
            (entry.taken, entry.queue, entry.due) = (0, Queue::New, entry.since);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn any(&self, what: impl Fn(&Run) -> bool) -> bool {
        self.0.values().any(|entry| entry.words.iter().any(&what))
    }

    /// How long the oldest report has waited.
    pub(super) fn delay(&self) -> Duration {
        self.0.values().map(|entry| entry.since.elapsed()).max().unwrap_or_default()
    }

    fn each(&mut self, words: &[Run], change: impl Fn(&mut Entry)) {
        for word in words {
            if let Some(entry) = self.0.get_mut(&word.id).filter(|entry| entry.taken > 0) {
                change(entry);
                entry.taken = 0;
            }
        }
    }
}
