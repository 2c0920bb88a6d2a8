//! Which fetches wait for an answer, and for how long: the health of a bus is judged by this. A lane that does not
//! fetch, because all places are taken, waits for nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// For each subject: since when its fetch has had no answer.
#[derive(Debug, Default)]
pub(super) struct FetchHealth(Mutex<BTreeMap<String, Instant>>);

/// A fetch under way. If it is dropped without [`Fetch::ended`], it was cancelled and waits for nothing.
#[derive(Debug)]
pub(super) struct Fetch<'a> {
    all: &'a FetchHealth,
    subject: &'a str,
    cancelled: bool,
}

impl FetchHealth {
    /// A fetch begins. After a failed one, the time still counts from the first.
    pub(super) fn begin<'a>(&'a self, subject: &'a str) -> Fetch<'a> {
        self.waiting().entry(subject.to_owned()).or_insert_with(Instant::now);
        Fetch { all: self, subject, cancelled: true }
    }

    /// What is wrong, if a fetch has waited longer than this.
    pub(super) fn late(&self, within: Duration) -> Option<String> {
        let waiting = self.waiting();
        let (subject, since) = waiting.iter().min_by_key(|(_, since)| **since)?;
        let waited = since.elapsed();
        (waited > within)
            .then(|| format!("no message and no heartbeat on {subject} for {} s", waited.as_secs()))
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.0.lock()
    }
}

impl Fetch<'_> {
    /// The fetch has returned. An error is not an answer.
    pub(super) fn ended(mut self, answered: bool) {
        self.cancelled = answered;
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        if self.cancelled {
            self.all.waiting().remove(self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn wait() {
        std::thread::sleep(SOON * 2);
    }

    #[test]
    fn only_a_fetch_that_waits_for_an_answer_is_late() {
        let fetches = FetchHealth::default();
        fetches.begin("busy").ended(true);
        drop(fetches.begin("cancelled"));
        wait();
        assert_eq!(fetches.late(SOON), None);
        let asking = fetches.begin("asking");
        assert_eq!(fetches.late(SOON), None);
        wait();
        assert!(fetches.late(SOON).is_some_and(|why| why.contains("asking")));
        asking.ended(true);
        assert_eq!(fetches.late(SOON), None);
    }

    #[test]
    fn fetches_that_fail_quickly_are_late_all_the_same() {
        let fetches = FetchHealth::default();
        fetches.begin("failing").ended(false);
        wait();
        let again = fetches.begin("failing");
        assert!(fetches.late(SOON).is_some());
        again.ended(true);
        assert_eq!(fetches.late(SOON), None);
    }
}
