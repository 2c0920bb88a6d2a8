//! Who may start a Job: a global limit, and for each lane a share of it that shrinks as the slots run out.
//!
//! The rule is the dynamic threshold of shared-memory switches: a lane may start while it runs fewer than twice the free
//! slots, and the last slot is for a lane that has none. A lane alone gets two thirds of all; one that hangs leaves the rest to
//! the others. Nobody is counted ahead.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

/// Whether a lane with so many running Jobs may start another one.
pub const fn may_start(running: usize, free: usize) -> bool {
    match free {
        0 => false,
        // The last one is for a lane that has none yet.
        1 => running == 0,
        _ => running < 2 * free,
    }
}

/// How many more a lane may start now, one after the other.
pub fn room(running: usize, free: usize) -> usize {
    (0..free).take_while(|more| may_start(running + more, free - more)).count()
}

/// The slots of all lanes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    slots: Mutex<Slots>,
    changed: Notify,
}

#[derive(Debug)]
struct Slots {
    free: usize,
    running: BTreeMap<String, usize>,
    waiting: VecDeque<(String, oneshot::Sender<()>)>,
}

/// One Job's place; free again when dropped.
#[derive(Debug)]
pub struct Slot {
    admission: Admission,
    lane: String,
}

impl Admission {
    /// So many Jobs at most.
    pub fn new(limit: usize) -> Self {
        let slots = Slots { free: limit.max(1), running: BTreeMap::new(), waiting: VecDeque::new() };
        Self(Arc::new(Inner { slots: Mutex::new(slots), changed: Notify::new() }))
    }

    /// Waits until the lane could start something, and says how much. Takes nothing.
    pub async fn room(&self, lane: &str) -> usize {
        loop {
            let changed = self.0.changed.notified();
            {
                let slots = self.slots();
                let room = room(slots.of(lane), slots.free);
                // Those who wait already come first.
                if room > 0 && !slots.waiting.iter().any(|(waiting, _)| waiting == lane) {
                    return room;
                }
            }
            changed.await;
        }
    }

    /// Waits for a slot; first come, first served among the lanes that may start.
    pub async fn slot(&self, lane: &str) -> Slot {
        let (sender, granted) = oneshot::channel();
        let slot = {
            let mut slots = self.slots();
            slots.waiting.push_back((lane.to_owned(), sender));
            slots.grant();
            // Made before the wait, so that a slot granted to a dropped wait is given back.
            Pending { admission: self.clone(), lane: lane.to_owned(), granted: Some(granted) }
        };
        slot.wait().await
    }

    /// Running Jobs in all.
    pub fn running(&self) -> usize {
        self.slots().running.values().sum()
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, lane: &str) {
        let mut slots = self.slots();
        slots.free += 1;
        if let Some(running) = slots.running.get_mut(lane) {
            *running -= 1;
            if *running == 0 {
                slots.running.remove(lane);
            }
        }
        slots.grant();
        drop(slots);
        self.0.changed.notify_waiters();
    }
}

impl Slots {
    fn of(&self, lane: &str) -> usize {
        self.running.get(lane).copied().unwrap_or(0)
    }

    fn grant(&mut self) {
        let mut index = 0;
        while let Some((lane, _)) = self.waiting.get(index) {
            if self.free == 0 {
                return;
            }
            if !may_start(self.of(lane), self.free) {
                index += 1;
                continue;
            }
            let Some((lane, sender)) = self.waiting.remove(index) else { return };
            if sender.send(()).is_ok() {
                self.free -= 1;
                *self.running.entry(lane).or_default() += 1;
            }
        }
    }
}

/// A wait for a slot that may be dropped at any time.
struct Pending {
    admission: Admission,
    lane: String,
    granted: Option<oneshot::Receiver<()>>,
}

impl Pending {
    async fn wait(mut self) -> Slot {
        if let Some(granted) = self.granted.as_mut() {
            // The sender is dropped only after it was used.
            drop(granted.await);
        }
        self.granted = None;
        Slot { admission: self.admission.clone(), lane: std::mem::take(&mut self.lane) }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(mut granted) = self.granted.take() {
            let slots = self.admission.slots();
            let was_granted = granted.try_recv().is_ok();
            drop(granted);
            drop(slots);
            if was_granted {
                self.admission.release(&self.lane);
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission.release(&self.lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_alone_gets_two_thirds_and_leaves_the_rest() {
        assert_eq!(room(0, 4), 3);
        assert_eq!(room(0, 12), 8);
        assert_eq!(room(0, 1), 1);
        assert_eq!(room(3, 1), 0);
        assert_eq!(room(0, 0), 0);
    }

    #[test]
    fn another_lane_always_finds_room_beside_a_hung_one() {
        for limit in 2..100 {
            let hung = room(0, limit);
            assert!(hung < limit, "{limit}");
            assert!(room(0, limit - hung) >= 1, "{limit}");
        }
    }

    #[tokio::test]
    async fn a_hung_lane_does_not_stop_another() {
        let admission = Admission::new(4);
        let mut hung = Vec::new();
        for _ in 0..admission.room("vendor").await {
            hung.push(admission.slot("vendor").await);
        }
        let waiting = tokio::spawn({
            let admission = admission.clone();
            async move { admission.slot("vendor").await }
        });
        tokio::task::yield_now().await;
        for _ in 0..100 {
            assert_eq!(admission.room("registered").await, 1);
            drop(admission.slot("registered").await);
        }
        assert_eq!(admission.running(), 3);
        hung.clear();
        drop(waiting.await.unwrap());
        assert_eq!(admission.running(), 0);
    }

    #[tokio::test]
    async fn a_dropped_wait_gives_its_slot_back() {
        let admission = Admission::new(1);
        let first = admission.slot("a").await;
        let mut second = Box::pin(admission.slot("a"));
        assert!(futures_poll(&mut second).await);
        drop(first);
        drop(second);
        drop(admission.slot("a").await);
        assert_eq!(admission.running(), 0);
    }

    /// Polls once; true where it is still waiting.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
