//! Publishes events again that are only in the outbox: after a restore, or the loss of a NATS server's disk, the
//! stream may be older than the database. They keep their ids.
//!
//! It looks for events of customers that are not onboarded, on subjects whose triggers run images with a ledger. It
//! leaves out events that were handled, that the bus still keeps, or that are or were dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use shared::database::{Connection, Settings};
use shared::error::{Error, Result};
use shared::event::CONTENT_TYPE;

use crate::flow;
use crate::manifest::Manifests;
use crate::manifest_source::Rules;
use crate::onboarding::step;
use crate::plan::Cluster;
use bus::{Bus, Filter, Message};
use job::stop::Stop;

/// A worker publishes moments after it has written, so older events that the bus does not have are missing.
pub const YOUNGEST: Duration = Duration::from_mins(1);

/// The time between two searches of a dispatcher.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// The first search comes soon after a start, because a restore needs a start.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// How much the clocks of the database's clients and of NATS may differ.
const CLOCKS_DIFFER: chrono::TimeDelta = chrono::TimeDelta::minutes(10);

/// How many events are compared at once.
const AT_ONCE: usize = 1000;

/// How many events are on their way to the bus at the same time.
const PUBLISHED_AT_ONCE: usize = 16;

/// An event in the outbox that no step has handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its id.
    pub id: String,
    /// The NATS subject that it belongs to.
    pub subject: String,
    payload: String,
    written_at: DateTime<Utc>,
}

/// Searches from time to time, until it is told to stop.
pub async fn watch(settings: Settings, bus: Bus, rules: Rules, cluster: Cluster, stop: Stop) {
    let mut known = BTreeSet::new();
    let mut pause = FIRST_LOOK;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = LOOK_EVERY,
            () = stop.draining() => return,
        }
        let look = async {
            let mut database = settings.connect().await?;
            let lost = find(&mut database, &bus, &rules.current(), &cluster, YOUNGEST, &mut known).await?;
            publish(&bus, &lost).await?;
            Ok::<_, Error>(lost.len())
        };
        tokio::select! {
            done = look => match done {
                Ok(0) => {}
                Ok(count) => tracing::warn!(count, "events of the outbox were missing in the bus: published again"),
                Err(error) => tracing::debug!(error = %error, "the outbox could not be compared with the bus"),
            },
            () = stop.draining() => return,
        }
    }
}

/// The missing events. `known`: ids that are not missing, from the last search and for the next.
pub async fn find(
    database: &mut Connection,
    bus: &Bus,
    set: &Manifests,
    cluster: &Cluster,
    youngest: Duration,
    known: &mut BTreeSet<String>,
) -> Result<Vec<Lost>> {
    let until = Utc::now() - youngest;
    let mut open = unhandled(database, until).await?;
    let handled_here = ledger_subjects(set, cluster);
    open.retain(|one| handled_here.contains(&one.subject) && !known.contains(&one.id));
    open.truncate(AT_ONCE);
    if open.is_empty() {
        return Ok(open);
    }
    let failed = |error: bus::Error| Error::unavailable("the bus cannot be read").because(error);
    let given_up = dead_letters(bus).await.map_err(failed)?;
    let mut by_subject: BTreeMap<String, Vec<Lost>> = BTreeMap::new();
    for one in open {
        by_subject.entry(one.subject.clone()).or_default().push(one);
    }
    let mut lost = Vec::new();
    for (subject, events) in by_subject {
        let ids: BTreeSet<_> = events.iter().map(|one| one.id.clone()).collect();
        let oldest = events.iter().map(|one| one.written_at).min().unwrap_or(until);
        let missing = bus.missing(&subject, oldest - CLOCKS_DIFFER, ids).await.map_err(failed)?;
        for one in events {
            if missing.contains(&one.id) && !given_up.contains(&one.id) {
                lost.push(one);
            } else {
                known.insert(one.id);
            }
        }
    }
    lost.sort_by_key(|one| one.written_at);
    Ok(lost)
}

/// Publishes them under their own ids, several at a time.
pub async fn publish(bus: &Bus, lost: &[Lost]) -> Result<()> {
    for some in lost.chunks(PUBLISHED_AT_ONCE) {
        try_join_all(some.iter().map(|one| publish_one(bus, one))).await?;
    }
    Ok(())
}

async fn publish_one(bus: &Bus, lost: &Lost) -> Result<()> {
    let message = Message {
        subject: lost.subject.clone(),
        id: Some(lost.id.clone()),
        headers: vec![("Content-Type".to_owned(), CONTENT_TYPE.to_owned())],
        payload: lost.payload.clone().into(),
    };
    let published = bus.publish(message).await;
    published.map(drop).map_err(|error| Error::unavailable("an event cannot be published").because(error))
}

/// Events in the outbox, of customers under way, that no step has handled and no operator has dropped.
async fn unhandled(database: &mut Connection, until: DateTime<Utc>) -> Result<Vec<Lost>> {
    let sql = "SELECT o.event_id, o.nats_subject, o.payload, p.handled_at FROM customers c \
               JOIN handled_events p ON p.customer_id = c.id \
               JOIN outbox o ON o.step = p.step AND o.cause_id = p.event_id AND o.cause_subject = p.subject \
               WHERE c.onboarded_at IS NULL AND p.handled_at < ? \
               AND NOT EXISTS (SELECT 1 FROM handled_events h WHERE h.customer_id = c.id AND h.event_id = o.event_id) \
               AND NOT EXISTS (SELECT 1 FROM operator_actions a WHERE a.action = 'drop' AND a.event_id = o.event_id) \
               ORDER BY p.handled_at";
    let rows = database.rows(sql, &[until.into()]).await?;
    rows.iter()
        .map(|row| {
            Ok(Lost {
                id: row.text(0)?,
                subject: row.text(1)?,
                payload: row.text(2)?,
                written_at: row.time(3)?,
            })
        })
        .collect()
}

/// The subjects whose events a worker with a ledger handles. For others it cannot be known whether they were handled.
fn ledger_subjects(set: &Manifests, cluster: &Cluster) -> BTreeSet<String> {
    let keeps =
        |step: &&flow::Step| !step.images.is_empty() && step.images.iter().all(|image| step::is_step(image));
    step::flow(set, cluster).steps.iter().filter(keeps).flat_map(|step| step.subjects.clone()).collect()
}

async fn dead_letters(bus: &Bus) -> bus::Result<BTreeSet<String>> {
    let mut filter = Filter { payloads: false, limit: 1000, ..Filter::default() };
    let mut ids = BTreeSet::new();
    loop {
        let page = bus.dead_letters(&filter).await?;
        ids.extend(page.letters.into_iter().map(|letter| letter.info.event_id));
        match page.next {
            Some(next) => filter.after = next,
            None => return Ok(ids),
        }
    }
}
