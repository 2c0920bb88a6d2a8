//! Polling with a limit: the only way a test waits.

use std::time::{Duration, Instant};

/// How long anything that should work may take on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(1);

const PAUSE: Duration = Duration::from_millis(10);

/// Polls until the probe answers; panics with `what` if the limit is over.
pub fn until<T>(limit: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(limit, probe).unwrap_or_else(|| panic!("waited {limit:?} in vain until {what}"))
}

/// Polls until the condition holds; panics with `what` if [`LIMIT`] is over.
pub fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(LIMIT, what, || condition().then_some(()));
}

/// Polls until the probe answers; `None` if the limit is over.
pub fn within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if started.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}
