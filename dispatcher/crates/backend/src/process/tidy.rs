//! `ttlSecondsAfterFinished`: removes ended Jobs when their time is over, without scanning all files and without
//! state in memory.
//!
//! `expiry/<minute>` lists the Jobs that may be removed from that minute on. Each list is read when its minute has
//! come, whichever dispatcher wrote it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::files::{self, Files, MINUTE_MS};
use super::record::milliseconds;
use job::stop::Stop;

const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Removes due Jobs until the dispatcher stops.
pub(super) async fn run(state_dir: &Path, stop: &Stop) {
    loop {
        let state_dir = state_dir.to_owned();
        let now = milliseconds(SystemTime::now());
        let swept = tokio::task::spawn_blocking(move || sweep(&state_dir, now)).await;
        if let Ok(Err(error)) = swept {
            tracing::warn!(error = %error, "ended Jobs were not tidied up");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.draining() => return,
        }
    }
}

/// Removes the Jobs that are due at `now_ms`. Blocks.
pub(super) fn sweep(state_dir: &Path, now_ms: u64) -> io::Result<()> {
    for entry in fs::read_dir(state_dir.join("expiry"))? {
        let entry = entry?;
        let minute: Option<u64> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if minute.is_none_or(|minute| minute * MINUTE_MS > now_ms) {
            continue;
        }
        for name in fs::read_to_string(entry.path())?.lines() {
            remove_if_due(state_dir, name, now_ms)?;
        }
        fs::remove_file(entry.path())?;
    }
    Ok(())
}

fn remove_if_due(state_dir: &Path, name: &str, now_ms: u64) -> io::Result<()> {
    if files::newest(state_dir, name)?.is_none() {
        return Ok(());
    }
    // A locked Job runs again; it is listed again at its end.
    let Some(files) = Files::try_lock(state_dir, name)? else { return Ok(()) };
    match files.read()? {
        Some(record) if record.expires_ms().is_some_and(|at| at <= now_ms) => files.remove(),
        _ => Ok(()),
    }
}
