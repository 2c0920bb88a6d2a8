//! Limits how many bytes of messages a process holds at once, over all lanes. Room is taken before a fetch, and given
//! back when the bytes are freed.
//!
//! No lane holds more than half of what is free (the dynamic threshold of shared-memory switches). So Jobs that hang
//! do not keep other lanes from their events. A message that is larger than the room for a fetch is read alone, one
//! in the whole process. It cannot become a Job and is answered at once, so no lane waits long for its turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Bytes of all messages in hand, except one that is read alone.
const ALL: usize = 8 << 20;

/// The largest message that can become a Job, headers included: data that fills the longest possible variable, and
/// attributes.
pub const LARGEST_PLANNED: usize = (128 + 32) << 10;

/// What subject and reply address add to a message in transit.
const ENVELOPE: usize = 1 << 10;

/// Room for one message that can become a Job.
const LEAST: usize = LARGEST_PLANNED + ENVELOPE;

/// Room for one fetch.
const MOST: usize = 1 << 20;

/// What a lane holds while it waits for its next message. A larger message is asked for again, with more room.
const WAITING: usize = 32 << 10;

/// The budget of all lanes. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
    alone: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    all: usize,
    held: BTreeMap<String, usize>,
}

/// Bytes that one lane has taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    budget: Budget,
    lane: String,
    bytes: usize,
    /// Set if the room is for one message of any size.
    alone: Option<OwnedSemaphorePermit>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(ALL)
    }
}

impl Budget {
    fn of(all: usize) -> Self {
        let state = Mutex::new(State { all, held: BTreeMap::new() });
        Self(Arc::new(Inner { state, changed: Notify::new(), alone: Arc::new(Semaphore::new(1)) }))
    }

    /// Waits for room for one fetch, or for the turn to read one message of any size.
    pub(super) async fn room(&self, lane: &str, alone: bool) -> Room {
        if alone {
            let alone = Arc::clone(&self.0.alone).acquire_owned().await.ok(); // never closed
            return self.taken(lane, 0, alone);
        }
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if let Some(room) = self.room_now(lane, alone) {
                return room;
            }
            changed.await;
        }
    }

    /// Like [`Self::room`], but `None` instead of waiting.
    pub(super) fn room_now(&self, lane: &str, alone: bool) -> Option<Room> {
        if alone {
            let alone = Some(Arc::clone(&self.0.alone).try_acquire_owned().ok()?);
            return Some(self.taken(lane, 0, alone));
        }
        let bytes = self.state().take(lane, LEAST, MOST)?;
        Some(self.taken(lane, bytes, None))
    }

    fn taken(&self, lane: &str, bytes: usize, alone: Option<OwnedSemaphorePermit>) -> Room {
        Room { budget: self.clone(), lane: lane.to_owned(), bytes, alone }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    fn give_back(&self, lane: &str, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut state = self.state();
        if let Some(held) = state.held.get_mut(lane) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                state.held.remove(lane);
            }
        }
        drop(state);
        self.0.changed.notify_waiters();
    }
}

impl State {
    fn free(&self) -> usize {
        self.all.saturating_sub(self.held.values().sum())
    }

    /// As many bytes as the lane may have, or `None` if these are fewer than `least`.
    fn take(&mut self, lane: &str, least: usize, most: usize) -> Option<usize> {
        let held = self.held.get(lane).copied().unwrap_or(0);
        let free = self.free();
        // Afterwards the lane holds at most half of what is free; but a lane that holds nothing may always have what
        // it needs.
        let may = free.saturating_sub(2 * held) / 3;
        let may = if held == 0 { may.max(least.min(free)) } else { may };
        let bytes = may.min(most);
        (bytes >= least).then(|| {
            self.add(lane, bytes);
            bytes
        })
    }

    fn add(&mut self, lane: &str, bytes: usize) {
        *self.held.entry(lane.to_owned()).or_default() += bytes;
    }
}

impl Room {
    /// How many bytes fit; `None` if the room is for one message of any size.
    pub(super) fn limit(&self) -> Option<usize> {
        self.alone.is_none().then_some(self.bytes)
    }

    /// Whether the room is for one message of any size.
    pub(super) fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    /// Gives back everything except what a lane needs while it waits.
    pub(super) fn wait(&mut self) {
        let rest = self.bytes.saturating_sub(WAITING);
        self.bytes -= rest;
        self.budget.give_back(&self.lane, rest);
    }

    /// Takes more, as far as bytes are free now.
    pub(super) fn grow(&mut self) {
        let taken = self.budget.state().take(&self.lane, 1, MOST);
        self.bytes += taken.unwrap_or(0);
    }

    /// Splits off the room of one message that came. A message that was read alone, but is no larger than others,
    /// counts like those.
    pub(super) fn part(&mut self, bytes: usize) -> Self {
        if bytes > LEAST && self.is_alone() {
            return self.budget.taken(&self.lane, 0, self.alone.take());
        }
        let own = bytes.min(self.bytes);
        self.bytes -= own;
        self.budget.state().add(&self.lane, bytes - own);
        self.budget.taken(&self.lane, bytes, None)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.give_back(&self.lane, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(budget: &Budget) -> usize {
        budget.0.state.lock().held.values().sum()
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_that_hang_leave_room_for_others() {
        let budget = Budget::default();
        let mut hung = Vec::new();
        for lane in ["a", "b", "c", "d", "e", "f", "g"] {
            let room = || budget.room(lane, false);
            while let Ok(room) = tokio::time::timeout(std::time::Duration::from_secs(1), room()).await {
                hung.push(room);
            }
        }
        assert!(held(&budget) <= ALL);
        let last = budget.room("h", false).await;
        assert!(last.limit().is_some_and(|bytes| bytes >= LEAST));
        hung.clear();
        drop(last);
        assert_eq!(held(&budget), 0);
    }

    #[tokio::test]
    async fn what_came_keeps_its_bytes_and_the_rest_goes_back() {
        let budget = Budget::default();
        let mut room = budget.room("a", false).await;
        assert_eq!(room.limit(), Some(MOST));
        let parts = [room.part(1000), room.part(LEAST)];
        drop(room);
        assert_eq!(held(&budget), 1000 + LEAST);
        drop(parts);
        assert_eq!(held(&budget), 0);
        let mut room = budget.room("a", false).await;
        room.wait();
        assert_eq!((room.limit(), held(&budget)), (Some(WAITING), WAITING));
        room.grow();
        assert_eq!(room.limit(), Some(WAITING + MOST));
    }

    #[tokio::test]
    async fn one_large_message_is_in_hand_at_a_time() {
        let budget = Budget::default();
        let mut room = budget.room("a", true).await;
        let large = room.part(100 * ALL);
        drop(room);
        assert_eq!(budget.0.alone.available_permits(), 0);
        drop(large);
        // A message that was read alone and turns out to be small counts like all others.
        let mut room = budget.room("b", true).await;
        let small = room.part(10);
        drop(room);
        assert_eq!((budget.0.alone.available_permits(), held(&budget)), (1, 10));
        drop(small);
        assert_eq!(held(&budget), 0);
    }

    #[tokio::test]
    async fn whoever_waits_for_room_gets_what_becomes_free() {
        let budget = Budget::of(LEAST + 100);
        let first = budget.room("a", false).await;
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.room("b", false).await.limit() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!(waiting.await.unwrap(), Some(LEAST));
    }
}
