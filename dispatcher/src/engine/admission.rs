//! Decides which lane may start a Job: one limit for all lanes, and a fair share for each while others have work too.
//!
//! While no other lane has work, a lane may use every place. As soon as another lane has work, it starts nothing more
//! until it runs fewer than twice the free places (the dynamic threshold of shared-memory switches), so that free
//! places go to the others first. If there are several triggers, the last place is for a lane that runs nothing, so
//! that a lane with hanging Jobs never takes it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// For this long after a lane last asked for a place, or gave one back, it counts as having work.
const QUIET_AFTER: Duration = Duration::from_secs(10);
/// How often a lane checks whether the others have no work any more, because no event tells it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The state of the other lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// There is only one trigger, so no other lane can have work.
    None,
    /// They have no work now.
    Quiet,
    /// Some of them have work.
    Busy,
}

/// Whether a lane with this many running Jobs may start another one.
pub const fn may_start(running: usize, free: usize, others: Others) -> bool {
    match (others, free) {
        (_, 0) => false,
        (Others::None, _) => true,
        // The last place is for a lane that runs nothing.
        (_, 1) => running == 0,
        (Others::Quiet, _) => true,
        (Others::Busy, _) => running < 2 * free,
    }
}

/// How many more Jobs a lane may start now.
pub fn room(running: usize, free: usize, others: Others) -> usize {
    (0..free).take_while(|more| may_start(running + more, free - more, others)).count()
}

/// The places of all lanes. Cheap to clone.
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
    /// Whether there are several triggers.
    is_shared: bool,
    /// When each lane last asked for a place or gave one back.
    had_work: BTreeMap<String, Instant>,
}

/// The place of one Job; free again when dropped.
#[derive(Debug)]
pub struct JobPlace {
    admission: Admission,
    lane: String,
}

impl Admission {
    /// At most this many Jobs at once.
    pub fn new(limit: usize) -> Self {
        let slots = Slots {
            free: limit.max(1),
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            is_shared: true,
            had_work: BTreeMap::new(),
        };
        Self(Arc::new(Inner { slots: Mutex::new(slots), changed: Notify::new() }))
    }

    /// Sets whether there are several triggers. Until the first call there are.
    pub fn share(&self, is_shared: bool) {
        self.slots().is_shared = is_shared;
        self.0.changed.notify_waiters();
    }

    /// Waits until the lane could start a Job, and returns how many. Takes no place.
    pub async fn room(&self, lane: &str) -> usize {
        loop {
            let changed = self.0.changed.notified();
            {
                let mut slots = self.slots();
                slots.grant();
                let room = room(slots.of(lane), slots.free, slots.others(lane));
                // Lanes that already wait come first.
                if room > 0 && !slots.is_waiting(lane) {
                    return room;
                }
            }
            // Whether time has passed or it was notified, it checks again.
            let _elapsed = tokio::time::timeout(LOOK_EVERY, changed).await;
        }
    }

    /// Waits for a place. Lanes that may start are served in order.
    pub async fn place(&self, lane: &str) -> JobPlace {
        let (sender, granted) = oneshot::channel();
        let slot = {
            let mut slots = self.slots();
            slots.had_work.insert(lane.to_owned(), Instant::now());
            slots.waiting.push_back((lane.to_owned(), sender));
            slots.grant();
            // Created before the wait, so that a place granted to a cancelled wait is given back.
            Pending { admission: self.clone(), lane: lane.to_owned(), granted: Some(granted) }
        };
        slot.wait().await
    }

    /// The number of running Jobs in all lanes.
    pub fn running(&self) -> usize {
        self.slots().running.values().sum()
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.slots.lock()
    }

    fn release(&self, lane: &str) {
        let mut slots = self.slots();
        slots.free += 1;
        slots.had_work.insert(lane.to_owned(), Instant::now());
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

    fn is_waiting(&self, lane: &str) -> bool {
        self.waiting.iter().any(|(waiting, _)| waiting == lane)
    }

    fn others(&self, lane: &str) -> Others {
        if !self.is_shared {
            return Others::None;
        }
        let others = self.had_work.iter().filter(|(other, _)| *other != lane);
        let is_busy = |(other, last): (&String, &Instant)| {
            self.of(other) > 0 || self.is_waiting(other) || last.elapsed() < QUIET_AFTER
        };
        if others.into_iter().any(is_busy) { Others::Busy } else { Others::Quiet }
    }

    fn grant(&mut self) {
        let mut index = 0;
        while let Some((lane, _)) = self.waiting.get(index) {
            if self.free == 0 {
                return;
            }
            if !may_start(self.of(lane), self.free, self.others(lane)) {
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

/// A wait for a place that can be dropped at any time.
struct Pending {
    admission: Admission,
    lane: String,
    granted: Option<oneshot::Receiver<()>>,
}

impl Pending {
    async fn wait(mut self) -> JobPlace {
        if let Some(granted) = self.granted.as_mut() {
            // The sender is dropped only after it was used.
            drop(granted.await);
        }
        self.granted = None;
        JobPlace { admission: self.admission.clone(), lane: std::mem::take(&mut self.lane) }
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

impl Drop for JobPlace {
    fn drop(&mut self) {
        self.admission.release(&self.lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_alone_uses_every_place_and_beside_others_two_thirds() {
        for (running, free, others, expected) in [
            (0, 100, Others::None, 100),
            (0, 1, Others::None, 1),
            (99, 1, Others::None, 1),
            (0, 100, Others::Quiet, 99),
            (0, 1, Others::Quiet, 1),
            (3, 1, Others::Quiet, 0),
            (0, 4, Others::Busy, 3),
            (0, 12, Others::Busy, 8),
            (3, 1, Others::Busy, 0),
            (0, 0, Others::None, 0),
        ] {
            assert_eq!(room(running, free, others), expected, "{running} {free} {others:?}");
        }
    }

    #[test]
    fn another_lane_always_finds_room_beside_a_hung_one() {
        for limit in 2..100 {
            for others in [Others::Quiet, Others::Busy] {
                let hung = room(0, limit, others);
                assert!(hung < limit, "{limit}");
                assert!(room(0, limit - hung, Others::Busy) >= 1, "{limit}");
            }
        }
    }

    /// Takes all places that the lane may have.
    async fn fill(admission: &Admission, lane: &str) -> Vec<JobPlace> {
        let mut slots = Vec::new();
        for _ in 0..admission.room(lane).await {
            slots.push(admission.place(lane).await);
        }
        slots
    }

    #[tokio::test(start_paused = true)]
    async fn a_hung_lane_does_not_stop_another() {
        let admission = Admission::new(4);
        drop(admission.place("registered").await);
        let mut hung = fill(&admission, "vendor").await;
        let waiting = tokio::spawn({
            let admission = admission.clone();
            async move { admission.place("vendor").await }
        });
        tokio::task::yield_now().await;
        for _ in 0..100 {
            assert_eq!(admission.room("registered").await, 1);
            drop(admission.place("registered").await);
        }
        assert_eq!(admission.running(), 3);
        hung.clear();
        drop(waiting.await.unwrap());
        assert_eq!(admission.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_become_free_go_to_another_lane_as_soon_as_it_has_work() {
        let admission = Admission::new(6);
        admission.share(false);
        let mut alone = fill(&admission, "first").await;
        assert_eq!(alone.len(), 6);
        admission.share(true);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let admission = admission.clone();
                tokio::spawn(async move { admission.place("second").await })
            })
            .collect();
        tokio::task::yield_now().await;
        let more = tokio::spawn({
            let admission = admission.clone();
            async move { admission.place("first").await }
        });
        tokio::task::yield_now().await;
        // The last free place is kept for a lane that runs nothing, so three Jobs have to end before two can start.
        alone.truncate(3);
        let mut others = others.into_iter();
        let second = (others.next().unwrap().await.unwrap(), others.next().unwrap().await.unwrap());
        assert!(!more.is_finished());
        drop((alone, second));
        drop(more.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_gets_the_places_of_lanes_that_have_become_quiet() {
        let admission = Admission::new(12);
        drop(admission.place("other").await);
        let mut slots = fill(&admission, "lane").await;
        assert_eq!(slots.len(), 8);
        // No Job ends and no lane asks: only time passes.
        slots.extend(fill(&admission, "lane").await);
        assert_eq!(slots.len(), 11);
    }

    #[tokio::test]
    async fn a_dropped_wait_gives_its_slot_back() {
        let admission = Admission::new(1);
        let first = admission.place("a").await;
        let mut second = Box::pin(admission.place("a"));
        assert!(futures_poll(&mut second).await);
        drop(first);
        drop(second);
        drop(admission.place("a").await);
        assert_eq!(admission.running(), 0);
    }

    /// Polls once. True if the future is still pending.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
