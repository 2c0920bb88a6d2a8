//! `activeDeadlineSeconds`: until when a Job may take, its tries and the waits between them together.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::engine::stop::Stop;

/// When a Job that began then must have ended.
pub(super) fn of(limit: Option<Duration>, started: SystemTime) -> Option<Instant> {
    let spent = SystemTime::now().duration_since(started).unwrap_or_default();
    // One too far for the clock is none.
    Instant::now().checked_add(limit?.saturating_sub(spent))
}

/// Returns at the deadline; never where there is none.
pub(super) async fn overdue(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// True after `delay`; false where the deadline or a stop came first.
pub(super) async fn wait(delay: Duration, deadline: Option<Instant>, stop: &Stop) -> bool {
    let until = Instant::now() + delay;
    let end = deadline.map_or(until, |deadline| deadline.min(until));
    tokio::select! {
        () = tokio::time::sleep_until(end) => end == until,
        () = stop.draining() => false,
    }
}
