//! The dispatcher's stop signal in two phases: draining (take no more) and ending (the grace time is over).

use std::time::Duration;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Ending,
}

/// After the grace time a process that got SIGTERM has this long until SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// The side that waits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Phase>);

/// The side that decides.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Phase>);

/// A pair that says "running" until told otherwise.
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Take no more; what runs may finish.
    pub fn drain(&self) {
        self.raise(Phase::Draining);
    }

    /// End what still runs.
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
    /// Returns once no more work may be taken.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Returns once running work must end.
    pub async fn ending(&self) {
        self.reached(Phase::Ending).await;
    }

    /// Whether no more work may be taken.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// How long a process may take to end once it was told to.
    pub const fn kill_after(&self) -> Duration {
        KILL_AFTER
    }

    async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        // A dropped stopper never stops anything.
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
