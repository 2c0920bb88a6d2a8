//! The spans that wait for the collector: a bounded queue of encoded requests. A batch stays in it until it was
//! delivered.

use std::collections::VecDeque;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Several times the size of a span.
const BYTES_PER_SPAN: usize = 1024;

/// The spans of one Job, encoded as a request of their own. Concatenated requests are one request, because that is
/// how Protobuf reads repeated fields.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) spans: usize,
    pub(super) bytes: Vec<u8>,
}

/// Joins several parts into one request.
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
    /// The limits in spans and in bytes, because texts of events and workers may be long.
    pub(super) fn new(most: usize) -> Self {
        let most_bytes = most.saturating_mul(BYTES_PER_SPAN);
        Self { state: Mutex::default(), grown: Notify::new(), most, most_bytes }
    }

    /// Adds a part at the end; false if there is no room.
    pub(super) fn push(&self, part: Part) -> bool {
        let mut state = self.state();
        if state.spans + part.spans > self.most || state.bytes + part.bytes.len() > self.most_bytes {
            return false;
        }
        state.spans += part.spans;
        state.bytes += part.bytes.len();
        state.parts.push_back(part);
        drop(state);
        // Wake all waiting tasks, because each waits for another number.
        self.grown.notify_waiters();
        true
    }

    /// The number of spans in the queue.
    pub(super) fn len(&self) -> usize {
        self.state().spans
    }

    /// The first parts with about this many spans. They stay until [`Self::remove`].
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

    /// Removes this batch: it was delivered, or never will be.
    pub(super) fn remove(&self, batch: &Batch) {
        let mut state = self.state();
        state.parts.drain(..batch.parts);
        state.bytes -= batch.bytes.len();
        state.spans -= batch.spans;
    }

    /// Returns once this many spans wait.
    pub(super) async fn until(&self, spans: usize) {
        loop {
            let grown = self.grown.notified();
            if self.len() >= spans.min(self.most) {
                return;
            }
            grown.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
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

    #[tokio::test]
    async fn one_span_wakes_who_waits_for_it_whoever_else_waits_for_more() {
        for more_first in [true, false] {
            let queue = Queue::new(10);
            let pushed = async {
                tokio::task::yield_now().await;
                queue.push(part(1, 1));
                std::future::pending::<()>().await;
            };
            let (one, two) = (queue.until(1), queue.until(2));
            let woken = async {
                if more_first {
                    tokio::select! { biased; () = two => 2, () = one => 1 }
                } else {
                    tokio::select! { biased; () = one => 1, () = two => 2 }
                }
            };
            let waited = tokio::time::timeout(std::time::Duration::from_secs(5), async {
                tokio::select! { biased; woken = woken => woken, () = pushed => 0 }
            });
            assert_eq!(waited.await, Ok(1), "{more_first}");
        }
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
