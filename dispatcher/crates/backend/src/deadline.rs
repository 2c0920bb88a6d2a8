//! `activeDeadlineSeconds`: the time limit of a Job, including all its tries and the waits between them.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use job::stop::Stop;

/// When a Job that began at `started` must have ended.
pub(super) fn of(limit: Option<Duration>, started: SystemTime) -> Option<Instant> {
    let spent = SystemTime::now().duration_since(started).unwrap_or_default();
    // A deadline beyond the range of the clock is never reached.
    Instant::now().checked_add(limit?.saturating_sub(spent))
}

/// Returns at the deadline; never if there is none.
pub(super) async fn overdue(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// True after `delay`; false if the deadline or a stop came first.
pub(super) async fn wait(delay: Duration, deadline: Option<Instant>, stop: &Stop) -> bool {
    let until = Instant::now() + delay;
    let end = deadline.map_or(until, |deadline| deadline.min(until));
    tokio::select! {
        () = tokio::time::sleep_until(end) => end == until,
        () = stop.draining() => false,
    }
}
