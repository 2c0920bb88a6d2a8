//! The lane of one subject: fetches what may run, gives each message to a task of its own, and waits for all tasks at
//! the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Inner, delivery};
use job::stop::Stop;

/// The most messages of one lane in memory, unless more Jobs than that may run. Most of them wait until their run is
/// stored before they are answered.
const MOST_TAKEN: usize = 256;

const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

pub(super) async fn run(inner: &Arc<Inner>, subject: &str, stop: &Stop) {
    let mut taken = JoinSet::new();
    let mut failing = false;
    let most = MOST_TAKEN.max(inner.settings.max_running);
    while !stop.is_draining() {
        while taken.try_join_next().is_some() {}
        if taken.len() >= most {
            taken.join_next().await;
            continue;
        }
        let room = tokio::select! {
            room = inner.admission.room(subject) => room.min(most - taken.len()),
            () = stop.draining() => break,
        };
        let fetched = tokio::select! {
            fetched = inner.bus.fetch(subject, room) => fetched,
            () = stop.draining() => break,
        };
        match fetched {
            Ok(deliveries) => {
                inner.metrics.fetched();
                failing = false;
                for delivery in deliveries {
                    let (inner, stop) = (Arc::clone(inner), stop.clone());
                    taken.spawn(async move { delivery::handle(&inner, delivery, &stop).await });
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(nats.subject = subject, error = %error, "nothing can be fetched; trying again");
                }
                failing = true;
                tokio::select! {
                    () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
                    () = stop.draining() => break,
                }
            }
        }
    }
    while taken.join_next().await.is_some() {}
}
