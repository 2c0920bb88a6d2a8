//! `ttlSecondsAfterFinished`: ended containers are removed when their time is over, whichever dispatcher made them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::query_parameters::ListContainersOptionsBuilder;

use super::Inner;
use super::client::Trouble;
use super::record::{self, SCOPE_LABEL, TTL_LABEL};
use job::stop::Stop;

const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Removes due containers until the dispatcher stops.
pub(super) async fn run(inner: &Inner, stop: &Stop) {
    loop {
        match sweep(inner, SystemTime::now()).await {
            Ok(()) | Err(Trouble::Away) => {}
            Err(trouble) => tracing::warn!(reason = %trouble, "ended containers were not tidied up"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.draining() => return,
        }
    }
}

/// Removes the containers that are due at `now`.
pub(super) async fn sweep(inner: &Inner, now: SystemTime) -> Result<(), Trouble> {
    let client = &inner.client;
    let filters = HashMap::from([
        ("label", vec![format!("{SCOPE_LABEL}={}", inner.settings.scope), TTL_LABEL.to_owned()]),
        ("status", vec!["exited".to_owned(), "dead".to_owned(), "created".to_owned()]),
    ]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let listed = client.settle(client.engine().await?.list_containers(Some(options))).await?;
    let mut still_kept = HashSet::new();
    for container in listed {
        let (Some(id), Some(labels)) = (container.id, container.labels) else { continue };
        let ttl = labels.get(TTL_LABEL).and_then(|ttl| ttl.parse().ok()).map(Duration::from_secs);
        let made = container.created.and_then(|at| u64::try_from(at).ok()).map(Duration::from_secs);
        let (Some(ttl), Some(made)) = (ttl, made.map(|at| UNIX_EPOCH + at)) else { continue };
        // A container ends after it was created, so the list alone shows that most of them are not due.
        if made + ttl > now || inner.is_kept(&id, now) {
            still_kept.insert(id);
            continue;
        }
        let found = match client.settle(client.engine().await?.inspect_container(&id, None)).await {
            Ok(found) => found,
            Err(Trouble::Away) => return Err(Trouble::Away),
            Err(_) => continue,
        };
        let Some(due) = record::due(&found, ttl) else { continue };
        if due <= now {
            inner.remove(&id).await?;
        } else {
            inner.keep(&id, due);
            still_kept.insert(id);
        }
    }
    inner.forget_all_but(&still_kept);
    Ok(())
}
