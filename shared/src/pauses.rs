//! The pauses between tries: each is twice as long as the one before, up to the longest.

use std::time::Duration;

/// The pauses of one loop.
///
/// ```
/// use std::time::Duration;
/// let mut pauses = shared::pauses::Pauses::new(Duration::from_secs(1), Duration::from_secs(3));
/// assert_eq!([pauses.take(), pauses.take(), pauses.take()].map(|pause| pause.as_secs()), [1, 2, 3]);
/// pauses.reset();
/// assert_eq!(pauses.peek().as_secs(), 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    /// From `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The pause that [`Self::take`] returns next.
    pub const fn peek(&self) -> Duration {
        self.next
    }

    /// The pause before the next try; the one after it is longer.
    pub fn take(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause
    }

    /// Begins with the first again: a try has succeeded.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}
