//! The dispatcher's stop signal in two phases: draining (start nothing more) and ending (the grace time is over).
//!
//! ```
//! let (stopper, stop) = job::stop::channel();
//! assert!(!stop.is_draining());
//! stopper.drain();
//! assert!(stop.is_draining());
//! ```

use std::time::Duration;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Ending,
}

/// How long a process has from SIGTERM to SIGKILL after the grace time.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// How long a process that can be left running has to end after SIGTERM. One that does nothing that must not be repeated
/// ends at once.
const LEAVE_AFTER: Duration = Duration::from_secs(2);

/// The side that waits for the signal. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Phase>);

/// The side that gives the signal.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Phase>);

/// A connected pair, in the state "running".
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Starts draining: nothing more is started, and running work may finish.
    pub fn drain(&self) {
        self.raise(Phase::Draining);
    }

    /// Ends what still runs.
    pub fn end(&self) {
        self.raise(Phase::Ending);
    }

    fn raise(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let later = phase > *current;
            *current = (*current).max(phase);
            later
        });
    }
}

impl Stop {
    /// Returns once nothing more may be started.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Returns once running work must end.
    pub async fn ending(&self) {
        self.reached(Phase::Ending).await;
    }

    /// Whether nothing more may be started.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// How long a process may take to end after it was told to.
    pub const fn kill_after(&self) -> Duration {
        KILL_AFTER
    }

    /// How long to wait for the end of a process that was told to end, before it is left running.
    pub const fn leave_after(&self) -> Duration {
        LEAVE_AFTER
    }

    async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        // A stopper that was dropped never stops anything.
        if receiver.wait_for(|current| *current >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward() {
        let (stopper, stop) = channel();
        assert!(!stop.is_draining());
        stopper.end();
        stopper.drain();
        stop.draining().await;
        stop.ending().await;
    }
}
