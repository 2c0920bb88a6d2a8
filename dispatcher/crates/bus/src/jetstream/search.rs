//! Looks for messages in the stream by their ids. It reads them through the raw message API: that leaves no consumer
//! behind, and reads headers that a client cannot parse.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use serde_json::json;

use super::api::{Api, Raw};
use super::dead_letters::parse_headers;
use super::stream::info;
use crate::message::header;
use crate::{MESSAGE_ID, Result};

/// How many parts of the stream are read at the same time, and how many numbers each has. One request for each message, one after the
/// other, takes minutes where thousands are stored.
const AT_ONCE: u64 = 16;
const PART: u64 = 64;

/// Those of `ids` that belong to no message of the subject that was stored at `since` or later.
pub(super) async fn missing(
    api: &Api,
    stream: &str,
    subject: &str,
    since: DateTime<Utc>,
    mut ids: BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let Some(info) = info(api, stream).await? else { return Ok(ids) };
    let number = |name: &str| info["state"][name].as_u64().unwrap_or(0);
    let first = first_since(api, stream, subject, since, number("first_seq"), number("last_seq")).await?;
    let mut next = Some(first);
    while let Some(start) = next.filter(|_| !ids.is_empty()) {
        let parts = (0..AT_ONCE).map(|part| {
            let start = start + part * PART;
            ids_between(api, stream, subject, start, start + PART)
        });
        for part in try_join_all(parts).await? {
            for id in part.ids {
                ids.remove(&id);
            }
            next = part.after;
        }
    }
    Ok(ids)
}

/// What one part of the stream holds.
struct Part {
    ids: Vec<String>,
    /// The first message of the subject after it.
    after: Option<u64>,
}

async fn ids_between(api: &Api, stream: &str, subject: &str, start: u64, end: u64) -> Result<Part> {
    let (mut ids, mut next) = (Vec::new(), start);
    loop {
        let found = match from(api, stream, subject, next).await? {
            Some(found) if found.sequence < end => found,
            other => return Ok(Part { ids, after: other.map(|found| found.sequence) }),
        };
        next = found.sequence + 1;
        let headers = parse_headers(&String::from_utf8_lossy(&found.headers));
        ids.extend(header(&headers, MESSAGE_ID).map(str::to_owned));
        if next >= end {
            return Ok(Part { ids, after: Some(next) });
        }
    }
}

/// Binary search: messages are in the order of their times.
async fn first_since(
    api: &Api,
    stream: &str,
    subject: &str,
    since: DateTime<Utc>,
    mut low: u64,
    mut high: u64,
) -> Result<u64> {
    while low < high {
        let middle = low.midpoint(high);
        match from(api, stream, subject, middle).await? {
            Some(found) if found.time < since => low = found.sequence + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The first message of the subject whose number is at least `sequence`.
async fn from(api: &Api, stream: &str, subject: &str, sequence: u64) -> Result<Option<Raw>> {
    api.stored(stream, &json!({"seq": sequence.max(1), "next_by_subj": subject})).await
}
