//! Parks events that no trigger in force takes: hands them back with a delay, for as long as a change of the
//! manifests may bring a trigger.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// The most parked events of one subject in one dispatcher. Those of two dispatchers stay below the number that a
/// consumer may have in flight, so that other events of the subject still come. Further events are given up at once.
const MOST_OF_A_SUBJECT: u64 = 5_000;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15);

/// An event is delivered again after this part of the time that it has waited. A dispatcher of another version may
/// have the trigger, and each delivery may go to it, so a young event must come often.
const PART: u32 = 4;

/// If a parked event has not come again this long after its time, another dispatcher has taken it.
const OVERDUE: Duration = Duration::from_secs(30);

/// The parked events of this dispatcher. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parked {
    limit: Duration,
    events: Arc<Mutex<HashMap<String, Event>>>,
}

#[derive(Debug)]
struct Event {
    subject: String,
    since: Instant,
    comes_again: Instant,
}

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Park it for this long. `first`: it was not parked before.
    Wait { delay: Duration, first: bool },
    /// Give it up, because it has waited long enough.
    GiveUp,
}

impl Parked {
    /// `limit`: how long each event may be parked.
    pub fn new(limit: Duration) -> Self {
        Self { limit, events: Arc::default() }
    }

    /// How long an event may be parked.
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// How many events of each subject are parked.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        counts(&mut self.events(), Instant::now())
    }

    /// One sentence for each subject, for readiness and pages.
    pub fn words(&self) -> Vec<String> {
        let minutes = self.limit.as_secs().div_ceil(60);
        let one = |(subject, count): (String, u64)| {
            format!(
                "{count} {} on {subject} wait for a trigger that takes them, each for up to {minutes} min",
                if count == 1 { "event" } else { "events" }
            )
        };
        self.counts().into_iter().map(one).collect()
    }

    pub(super) fn turn(&self, key: &str, subject: &str) -> Turn {
        self.turn_at(key, subject, Instant::now())
    }

    fn turn_at(&self, key: &str, subject: &str, now: Instant) -> Turn {
        let mut events = self.events();
        let first = !events.contains_key(key);
        if first && counts(&mut events, now).get(subject).is_some_and(|count| *count >= MOST_OF_A_SUBJECT) {
            return Turn::GiveUp;
        }
        let event = events.entry(key.to_owned()).or_insert_with(|| Event {
            subject: subject.to_owned(),
            since: now,
            comes_again: now,
        });
        let waited = now.saturating_duration_since(event.since);
        if waited >= self.limit {
            return Turn::GiveUp;
        }
        // Let it come once more exactly at its limit.
        let delay = (waited / PART).clamp(SHORTEST, LONGEST).min(self.limit.saturating_sub(waited));
        event.comes_again = now + delay;
        Turn::Wait { delay, first }
    }

    pub(super) fn forget(&self, key: &str) {
        self.events().remove(key);
    }

    fn events(&self) -> MutexGuard<'_, HashMap<String, Event>> {
        self.events.lock()
    }
}

fn counts(events: &mut HashMap<String, Event>, now: Instant) -> BTreeMap<String, u64> {
    events.retain(|_, event| now.saturating_duration_since(event.comes_again) < OVERDUE);
    let mut counts = BTreeMap::new();
    for event in events.values() {
        *counts.entry(event.subject.clone()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_waits_longer_from_time_to_time_and_is_given_up_at_the_limit() {
        let parked = Parked::new(Duration::from_secs(100));
        let (mut now, mut waits) = (Instant::now(), Vec::new());
        let start = now;
        while let Turn::Wait { delay, first } = parked.turn_at("e", "s", now) {
            assert_eq!(first, waits.is_empty());
            now += delay;
            waits.push((now - start, delay));
        }
        assert!(waits.is_sorted_by_key(|(_, delay)| *delay) || waits.pop().is_some());
        assert_eq!(
            waits.first().zip(waits.last()).map(|(first, last)| (first.1, last.1)),
            Some((SHORTEST, LONGEST))
        );
        // Of two dispatchers, one knows the trigger: one event in 4,000 still waits after a minute.
        assert!(waits.iter().filter(|(at, _)| *at <= Duration::from_mins(1)).count() >= 12, "{waits:?}");
        assert_eq!(now - start, Duration::from_secs(100));
        assert_eq!(parked.counts(), BTreeMap::from([("s".to_owned(), 1)]));
        parked.forget("e");
        assert_eq!(parked.counts(), BTreeMap::new());
    }

    #[test]
    fn what_another_dispatcher_took_is_not_counted_for_ever() {
        let parked = Parked::new(Duration::from_secs(100));
        let now = Instant::now();
        parked.turn_at("e", "s", now);
        assert_eq!(counts(&mut parked.events(), now + OVERDUE + Duration::from_secs(2)), BTreeMap::new());
    }

    #[test]
    fn a_flood_on_one_subject_is_given_up_and_other_subjects_are_not() {
        let parked = Parked::new(Duration::from_secs(100));
        let now = Instant::now();
        for event in 0..MOST_OF_A_SUBJECT {
            assert!(matches!(parked.turn_at(&event.to_string(), "s", now), Turn::Wait { .. }));
        }
        assert_eq!(parked.turn_at("one more", "s", now), Turn::GiveUp);
        assert!(matches!(parked.turn_at("0", "s", now), Turn::Wait { .. }));
        assert!(matches!(parked.turn_at("another", "t", now), Turn::Wait { .. }));
    }
}
