//! As PID 1 the dispatcher inherits every orphan of its container: it reaps those that are not its own children.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};

use super::Inner;
use super::identity::state_and_start;
use job::stop::Stop;

/// Returns at once if this process is not PID 1.
pub(super) async fn reap(inner: &Inner, stop: &Stop) {
    if std::process::id() != 1 {
        return;
    }
    let mut seen = BTreeSet::new();
    loop {
        let zombies = tokio::task::spawn_blocking(zombies).await.unwrap_or_default();
        let ours = inner.running.lock().clone();
        // Seen twice and not a child of ours. A child of ours that just ended is reaped by its own task in between.
        for pid in zombies.intersection(&seen).filter(|pid| !ours.contains(pid)) {
            let _gone_already = waitpid(Pid::from_raw(*pid), WaitOptions::NOHANG);
        }
        seen = zombies;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            () = stop.ending() => return,
        }
    }
}

fn zombies() -> BTreeSet<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeSet::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_zombie = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state_and_start(&stat).is_some_and(|(state, _)| state == 'Z')
    };
    pids.filter(is_zombie).collect()
}
