//! Limits the calls to the API server: a number per second, and a burst after a pause.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Calls per second on average, and calls at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) per_second: u32,
    pub(super) burst: u32,
}

/// Lets calls through at this rate, in the order in which they came.
#[derive(Debug)]
pub(super) struct Limit {
    interval: Duration,
    burst: u32,
    /// When the next call would be due if no unused calls were saved up.
    due: Mutex<Instant>,
}

impl Limit {
    pub(super) fn new(rate: Rate) -> Self {
        let interval = Duration::from_secs(1) / rate.per_second.max(1);
        Self { interval, burst: rate.burst.max(1), due: Mutex::new(Instant::now()) }
    }

    /// Returns when the next call may be made.
    pub(super) async fn turn(&self) {
        let at = {
            let mut due = self.due.lock().await;
            let now = Instant::now();
            *due = (*due).max(now) + self.interval;
            // Unused calls that were saved up are spent first.
            due.checked_sub(self.interval * self.burst).unwrap_or(now)
        };
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let limit = Limit::new(Rate { per_second: 10, burst: 5 });
        let start = Instant::now();
        let mut at = Vec::new();
        for _ in 0..8 {
            limit.turn().await;
            at.push(start.elapsed().as_millis());
        }
        assert_eq!(at, [0, 0, 0, 0, 0, 100, 200, 300]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let later = Instant::now();
        for _ in 0..5 {
            limit.turn().await;
        }
        assert_eq!(later.elapsed().as_millis(), 0);
    }
}
