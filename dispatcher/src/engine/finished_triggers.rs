//! Which triggers of an unfinished event have already ended, so that its redelivery only runs the others.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::{Mutex, MutexGuard};

use super::verdict::End;

/// Forgetting an event is harmless, because the backend's records and the workers' ledgers also prevent repeated
/// work.
const MOST_EVENTS: usize = 4096;

/// How each trigger of each event ended.
#[derive(Debug, Default)]
pub(super) struct FinishedTriggers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    events: BTreeMap<String, BTreeMap<String, End>>,
    order: VecDeque<String>,
}

impl FinishedTriggers {
    pub(super) fn ends_of(&self, event: &str) -> BTreeMap<String, End> {
        self.state().events.get(event).cloned().unwrap_or_default()
    }

    /// Keeps the final results of an event that will come again.
    pub(super) fn keep(&self, event: &str, ends: &[(String, End)]) {
        let ends: BTreeMap<_, _> = ends.iter().filter(|(_, end)| end.is_final()).cloned().collect();
        if ends.is_empty() {
            return;
        }
        let mut state = self.state();
        if state.events.insert(event.to_owned(), ends).is_none() {
            state.order.push_back(event.to_owned());
        }
        while state.order.len() > MOST_EVENTS {
            if let Some(oldest) = state.order.pop_front() {
                state.events.remove(&oldest);
            }
        }
    }

    /// Forgets an event that has its final answer.
    pub(super) fn forget(&self, event: &str) {
        let mut state = self.state();
        if state.events.remove(event).is_some() {
            state.order.retain(|kept| kept != event);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_final_ends_are_kept_and_never_too_many() {
        let finished = FinishedTriggers::default();
        let ends = [("a".to_owned(), End::Done), ("b".to_owned(), End::Stopped)];
        finished.keep("e", &ends);
        assert_eq!(finished.ends_of("e"), BTreeMap::from([("a".to_owned(), End::Done)]));
        finished.forget("e");
        assert!(finished.ends_of("e").is_empty());
        for event in 0..2 * MOST_EVENTS {
            finished.keep(&event.to_string(), &ends);
        }
        assert_eq!(finished.state().events.len(), MOST_EVENTS);
    }
}
