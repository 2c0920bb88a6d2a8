//! The background tasks: they write new runs and runs that wait for a lock, and remove old runs.
//!
//! Events are hostile. A run that the database refuses because of its content is dropped, logged and counted, and the
//! others are written.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::database::Trouble;
use super::pending::Queue;
use super::run::Run;
use super::{History, LATE, retention};
use job::masked;
use job::stop::Stop;
use shared::pauses::Pauses;

/// How long runs are collected, so that the beginning and the end of a quick Job are one row.
const GATHER: Duration = Duration::from_millis(150);

/// The most runs of one statement.
const MOST: usize = 256;

/// The first and the longest pause after the database accepted nothing.
const PAUSES: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(1));

/// How long the last write may take after the stop.
pub const LAST_WITHIN: Duration = Duration::from_secs(5);

/// How often old runs are removed.
const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// How often everything is counted again.
const COUNT_EVERY: Duration = Duration::from_hours(1);

pub(super) async fn run(history: &History, stop: &Stop) {
    let work = async {
        tokio::join!(write_new(history), write_again(history), watch(history), tidy(history));
    };
    tokio::select! { () = work => {}, () = stop.ending() => {} }
    finish(history).await;
}

async fn write_new(history: &History) {
    let mut pauses = Pauses::new(PAUSES.0, PAUSES.1);
    loop {
        history.0.news.notified().await;
        // A run that ends within the pause is written once, with its end.
        tokio::time::sleep(GATHER).await;
        loop {
            let words = history.pending().take(Queue::New, MOST);
            if words.is_empty() {
                break;
            }
            match write(history, &words).await {
                Ok(()) => pauses.reset(),
                Err(Trouble::Database) => tokio::time::sleep(pauses.take()).await,
                Err(Trouble::Locked | Trouble::Refused) => {
                    history.pending().set_apart(&words);
                    history.0.apart.notify_one();
                }
            }
        }
    }
}

/// Writes smaller and smaller batches, until the run that cannot be written is alone.
async fn write_again(history: &History) {
    let mut most = MOST / 8;
    loop {
        let words = history.pending().take(Queue::Again, most);
        if words.is_empty() {
            most = MOST / 8;
            let _ = tokio::time::timeout(Duration::from_secs(1), history.0.apart.notified()).await;
            continue;
        }
        let alone = words.iter().all(|word| word.id == words[0].id);
        match write(history, &words).await {
            Ok(()) => {
                most = (most * 2).min(MOST);
                history.0.news.notify_one();
            }
            Err(Trouble::Database) => tokio::time::sleep(PAUSES.1).await,
            Err(Trouble::Refused) if alone => drop_run(history, &words),
            Err(Trouble::Locked | Trouble::Refused) => {
                history.pending().set_apart(&words);
                most = (most / 8).max(1);
            }
        }
    }
}

async fn write(history: &History, words: &[Run]) -> Result<(), Trouble> {
    match history.0.database.write.write(words).await {
        Ok(()) => {
            let mut pending = history.pending();
            pending.written(words);
            if pending.len() == 0 {
                history.0.last_error.lock().clear();
            }
            drop(pending);
            history.0.written.send_modify(|count| *count += 1);
            Ok(())
        }
        Err(error) => {
            let trouble = Trouble::of(&error);
            let error = super::explain(error).to_string();
            tracing::debug!(runs = words.len(), error, "runs could not be written");
            *history.0.last_error.lock() = error;
            if trouble == Trouble::Database {
                history.pending().put_back(words);
            }
            Err(trouble)
        }
    }
}

fn drop_run(history: &History, words: &[Run]) {
    history.pending().forget(words);
    history.0.dropped.fetch_add(1, Ordering::Relaxed);
    if let Some(run) = words.last() {
        let error = history.last_error();
        tracing::error!(
            trigger = run.trigger, event.id = ?masked(&run.event_id), state = run.state.as_str(), error,
            "the database refuses this run; it is missing in the history"
        );
    }
}

/// Logs when the history is late, when it is not any more, and what is missing.
async fn watch(history: &History) {
    let (mut late, mut told, mut ahead) = (false, 0, 0);
    loop {
        tokio::time::sleep(LATE / 8).await;
        match (late, history.problem()) {
            (false, Some(problem)) => {
                tracing::warn!(
                    problem,
                    "the history is late; events are acknowledged without waiting for it"
                );
                (late, ahead) = (true, history.ahead());
            }
            (true, None) => {
                let ahead = history.ahead() - ahead;
                tracing::info!(acknowledged_ahead = ahead, "the history is up to date again");
                late = false;
            }
            _ => {}
        }
        let dropped = history.dropped();
        if dropped > told {
            let dropped = dropped - told;
            tracing::warn!(
                dropped,
                "runs are missing in the history; those that completed are looked for later"
            );
            told += dropped;
        }
    }
}

async fn tidy(history: &History) {
    let mut counted: Option<Instant> = None;
    loop {
        if counted.is_none_or(|at| at.elapsed() > COUNT_EVERY) {
            match history.count_anew().await {
                Ok(()) => counted = Some(Instant::now()),
                Err(error) => tracing::debug!(error = %error, "the runs were not counted"),
            }
        }
        if let Err(error) = retention::prune(history).await {
            tracing::debug!(error = %error, "old runs stay until the next time");
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

/// Writes all that is left, within the remaining time.
async fn finish(history: &History) {
    history.pending().release_all();
    let mut most = MOST;
    let rest = async {
        loop {
            let words = history.pending().take(Queue::New, most);
            if words.is_empty() {
                return;
            }
            match write(history, &words).await {
                Ok(()) => {}
                Err(Trouble::Database) => tokio::time::sleep(GATHER).await,
                Err(_) if most == 1 => history.pending().set_apart(&words),
                Err(_) => {
                    history.pending().put_back(&words);
                    most = (most / 8).max(1);
                }
            }
        }
    };
    let _ = tokio::time::timeout(LAST_WITHIN, rest).await;
    let runs = history.pending().len();
    if runs > 0 {
        tracing::warn!(
            runs,
            "the database did not take the last runs; those that completed are looked for later"
        );
    }
}
