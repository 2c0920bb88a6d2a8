//! The last failures, for the page: a bounded list.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

const MOST: usize = 50;

/// An event that did not end well.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When.
    pub at: DateTime<Utc>,
    /// Its NATS subject.
    pub subject: String,
    /// Its id, if it is an event.
    pub event_id: String,
    /// One word.
    pub class: String,
    /// One sentence.
    pub reason: String,
    /// When it is tried again; `None`: it is a dead letter.
    pub again: Option<Duration>,
}

/// The last ones, newest first.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Failure>>);

impl Recent {
    pub(super) fn push(&self, failure: Failure) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.push_front(failure);
        list.truncate(MOST);
    }

    /// All that are kept.
    pub fn list(&self) -> Vec<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
