//! Spans that wait for the collector: a bounded queue of encoded requests. What is taken out leaves it only once it arrived.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Several times what a span takes.
const BYTES_PER_SPAN: usize = 1024;

/// The spans of one Job, encoded as a request of their own. Requests that follow each other are one request: so Protobuf
/// reads repeated fields.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) spans: usize,
    pub(super) bytes: Vec<u8>,
}

/// Several parts in one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) parts: usize,
    pub(super) spans: usize,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    grown: Notify,
    most: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    parts: VecDeque<Part>,
    spans: usize,
    bytes: usize,
}

impl Queue {
    /// For so many spans at most, and for so many bytes: what events and workers say may be long.
    pub(super) fn new(most: usize) -> Self {
        let most_bytes = most.saturating_mul(BYTES_PER_SPAN);
        Self { state: Mutex::default(), grown: Notify::new(), most, most_bytes }
    }

    /// Puts a part behind the others; false where there is no room for it.
    pub(super) fn push(&self, part: Part) -> bool {
        let mut state = self.state();
        if state.spans + part.spans > self.most || state.bytes + part.bytes.len() > self.most_bytes {
            return false;
        }
        state.spans += part.spans;
        state.bytes += part.bytes.len();
        state.parts.push_back(part);
        drop(state);
        self.grown.notify_one();
        true
    }

    /// Spans that wait.
    pub(super) fn len(&self) -> usize {
        self.state().spans
    }

    /// The first ones, up to about so many spans. They stay until [`Self::remove`].
    pub(super) fn front(&self, most: usize) -> Option<Batch> {
        let state = self.state();
        let mut batch = Batch { parts: 0, spans: 0, bytes: Vec::new() };
        for part in &state.parts {
            if batch.parts > 0 && batch.spans + part.spans > most {
                break;
            }
            batch.parts += 1;
            batch.spans += part.spans;
            batch.bytes.extend_from_slice(&part.bytes);
        }
        Some(batch).filter(|batch| batch.parts > 0)
    }

    /// Takes this batch out: it arrived, or never will.
    pub(super) fn remove(&self, batch: &Batch) {
        let mut state = self.state();
        state.parts.drain(..batch.parts);
        state.bytes -= batch.bytes.len();
        state.spans -= batch.spans;
    }

    /// Returns once so many spans wait.
    pub(super) async fn until(&self, spans: usize) {
        while self.len() < spans.min(self.most) {
            self.grown.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(spans: usize, byte: u8) -> Part {
        Part { spans, bytes: vec![byte] }
    }

    #[test]
    fn it_keeps_the_order_holds_its_bound_and_loses_nothing_that_has_not_arrived() {
        let queue = Queue::new(10);
        assert!(queue.push(part(4, 1)) && queue.push(part(4, 2)));
        assert!(!queue.push(part(3, 3)));
        assert!(queue.push(part(2, 4)));
        let first = queue.front(8).unwrap();
        assert_eq!((first.parts, first.spans, first.bytes.as_slice()), (2, 8, &[1, 2][..]));
        assert_eq!(queue.front(8).unwrap(), first);
        queue.remove(&first);
        assert_eq!(queue.front(1).unwrap().bytes, [4]);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn spans_that_are_long_are_fewer() {
        let queue = Queue::new(10);
        let long = || Part { spans: 1, bytes: vec![0; 4 * BYTES_PER_SPAN] };
        assert!(queue.push(long()) && queue.push(long()) && !queue.push(long()));
        let batch = queue.front(10).unwrap();
        queue.remove(&batch);
        assert!(queue.push(long()));
    }
}
