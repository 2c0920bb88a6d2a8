//! The dead letters in their stream. They are read through the raw message API: it leaves no consumer behind, and it
//! reads headers that a client cannot parse.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::Api;
use super::stream::{Wanted, info_of};
use super::{JetStream, header_map};
use crate::dead_letter::{self, Letter, PAGE_BYTES};
use crate::message::header;
use crate::{DeadLetter, Error, Filter, MESSAGE_ID, Page, Result};

/// How many letters one page looks at. If a filter matches few of them, the page is short and says where to continue.
const LOOKS: u64 = 1_000;

/// How many letters are requested at once; each can have a mebibyte.
const AT_ONCE: u64 = 16;

/// Roughly how many bytes of letters are read at once.
const READ_AT_ONCE: usize = 2 << 20;

/// The number of parts that hold the original headers and bytes, if these and our facts are too large for one
/// message.
const PARTS: &str = "Dead-Letter-Parts";

/// What an older version wrote in place of such a letter. Its bytes are still in the stream that it came from.
const LEFT: &str = "Dead-Letter-Payload-Left-At";

/// A letter that was looked at.
struct Found {
    /// The letter, if it matches the filter.
    letter: Option<DeadLetter>,
    /// How many bytes were read for it, whether it matches or not.
    read: usize,
}

/// Stores a letter; the server drops a repeat of the same one.
pub(super) async fn store(api: &Api, stream: &Wanted, letter: Letter) -> Result<()> {
    let subject = stream.dead_letter_subject(&letter.subject);
    let whole = put(api, stream, &subject, letter.headers.clone(), &letter.id, letter.payload.clone()).await;
    let Err(Error::Refused(_)) = whole else { return whole };
    let (mut facts, original): (Vec<_>, Vec<_>) =
        letter.headers.into_iter().partition(|(name, _)| dead_letter::is_fact(name));
    let mut body = json!(original).to_string().into_bytes();
    body.push(b'\n');
    body.extend_from_slice(&letter.payload);
    let body = Bytes::from(body);
    let size = (api.max_payload() / 2).max(1);
    let parts = body.len().div_ceil(size);
    for part in 0..parts {
        let bytes = body.slice(part * size..body.len().min((part + 1) * size));
        let (subject, id) =
            (stream.part_subject(&letter.id, &part.to_string()), format!("{}.{part}", letter.id));
        put(api, stream, &subject, Vec::new(), &id, bytes).await?;
    }
    facts.push((PARTS.to_owned(), parts.to_string()));
    put(api, stream, &subject, facts, &letter.id, Bytes::new()).await
}

async fn put(
    api: &Api,
    stream: &Wanted,
    subject: &str,
    mut headers: Vec<(String, String)>,
    id: &str,
    payload: Bytes,
) -> Result<()> {
    headers.push((MESSAGE_ID.to_owned(), id.to_owned()));
    let headers = header_map(&headers)?;
    let stored = api.publish(subject, headers.clone(), payload.clone()).await;
    if stored.as_ref().is_err_and(Error::try_again) {
        // The stream may be missing: somebody has removed it, or this process has never ensured its subjects.
        stream.ensure_dead_letters(api).await?;
        return api.publish(subject, headers, payload).await.map(drop);
    }
    stored.map(drop)
}

impl JetStream {
    pub(crate) async fn dead_letters(&self, filter: &Filter) -> Result<Page> {
        let wildcard = filter.subject.as_deref().unwrap_or(">");
        let subject = self.inner.streams.home.dead_letter_subject(wildcard);
        let mut page = Page::default();
        let (mut after, mut looks, mut width, mut bytes) = (filter.after, 0, 1, 0);
        while looks < LOOKS {
            let (found, end) = self.found_from_each_of(after, width, &subject, filter).await?;
            looks += width;
            // If there are gaps between the numbers, several requests find the same letter, so fewer at once are
            // enough. Large letters: fewer fit into memory.
            let read: usize = found.values().map(|found| found.read).sum();
            let is_wide = found.len() as u64 == width && read < READ_AT_ONCE / 2;
            width = if is_wide { (width * 2).min(AT_ONCE) } else { width.div_ceil(2) };
            for (number, found) in found {
                if page.letters.len() >= filter.limit || bytes > PAGE_BYTES {
                    page.next = Some(after);
                    return Ok(page);
                }
                after = number;
                if let Some(letter) = found.letter {
                    bytes += letter.bytes();
                    page.letters.push(letter);
                }
            }
            if end {
                return Ok(page);
            }
        }
        page.next = Some(after);
        Ok(page)
    }

    /// For each of the `width` numbers after `after`: the first letter from there on. So no letter in between is
    /// missed. Returns these, without payload or letter if the filter does not match, and whether there are no more.
    async fn found_from_each_of(
        &self,
        after: u64,
        width: u64,
        subject: &str,
        filter: &Filter,
    ) -> Result<(BTreeMap<u64, Found>, bool)> {
        let looks = (1..=width).map(|step| async move {
            let request = json!({"seq": after.saturating_add(step), "next_by_subj": subject});
            let found = self.raw(&request, filter.reads_payloads()).await?;
            // Filter here, so that unwanted letters do not stay in memory until the others have come.
            Ok(found.map(|(number, letter)| {
                let letter = letter.inspect_err(|error| tracing::warn!("{error}")).ok();
                let read = letter.as_ref().map_or(0, DeadLetter::bytes);
                (number, Found { read, letter: letter.and_then(|letter| filter.apply(letter)) })
            }))
        });
        let found = futures_util::future::join_all(looks).await.into_iter().collect::<Result<Vec<_>>>()?;
        let end = found.last().is_none_or(Option::is_none);
        Ok((found.into_iter().flatten().collect(), end))
    }

    pub(crate) async fn dead_letter_by_number(&self, number: u64) -> Result<Option<DeadLetter>> {
        self.raw(&json!({"seq": number}), true).await?.map(|(_, letter)| letter).transpose()
    }

    pub(crate) async fn dead_letter_counts(&self) -> Result<BTreeMap<String, u64>> {
        let (api, stream) = (&self.inner.api, &self.inner.streams.home);
        let info = info_of(api, &stream.dead_letter_stream(), &stream.dead_letter_subject(">")).await?;
        let subjects = info.unwrap_or_default()["state"]["subjects"].take();
        let prefix = stream.dead_letter_subject("");
        let counts = subjects.as_object().into_iter().flatten().filter_map(|(subject, count)| {
            Some((subject.strip_prefix(&prefix)?.to_owned(), count.as_u64()?))
        });
        Ok(counts.collect())
    }

    pub(crate) async fn drop_dead_letter(&self, number: u64) -> Result<bool> {
        let (api, stream) = (&self.inner.api, &self.inner.streams.home);
        let name = stream.dead_letter_stream();
        let Some(raw) = api.stored(&name, &json!({"seq": number})).await? else { return Ok(false) };
        if stream.is_part(&raw.subject) {
            return Ok(false);
        }
        match api.call(&format!("STREAM.MSG.DELETE.{name}"), &json!({"seq": number})).await? {
            Ok(_) => {}
            // Servers answer this in several ways, so look whether it still exists.
            Err(_) if api.stored(&name, &json!({"seq": number})).await?.is_none() => return Ok(false),
            Err(refusal) => return Err(refusal.error(&format!("to remove dead letter {number}"))),
        }
        let headers = parse_headers(&String::from_utf8_lossy(&raw.headers));
        if let (Some(_), Some(id)) = (header(&headers, PARTS), letter_id(&headers)) {
            let filter = json!({"filter": stream.part_subject(id, "*")});
            if let Err(refusal) = api.call(&format!("STREAM.PURGE.{name}"), &filter).await? {
                return Err(refusal.error(&format!("to remove the parts of dead letter {number}")));
            }
        }
        Ok(true)
    }

    /// A message of the dead-letter stream and its number; `None` if it does not exist.
    async fn raw(&self, request: &Value, whole: bool) -> Result<Option<(u64, Result<DeadLetter>)>> {
        let (api, stream) = (&self.inner.api, &self.inner.streams.home);
        let Some(raw) = api.stored(&stream.dead_letter_stream(), request).await? else { return Ok(None) };
        if stream.is_part(&raw.subject) {
            return Ok(None);
        }
        let mut headers = parse_headers(&String::from_utf8_lossy(&raw.headers));
        let mut payload = raw.payload;
        let number = |name: &str| header(&headers, name).filter(|_| whole)?.parse::<u64>().ok();
        let (left, parts) = (number(LEFT), number(PARTS));
        if let Some(sequence) = left {
            let Some(original) = api.stored(&stream.name, &json!({"seq": sequence})).await? else {
                let lost = format!("stream {} does not keep message {sequence} any more", stream.name);
                return Ok(Some((raw.sequence, Err(Error::Refused(lost)))));
            };
            payload = original.payload;
        } else if let Some(parts) = parts {
            let joined = match letter_id(&headers) {
                Some(id) => self.joined(id, parts).await?,
                None => None,
            };
            let Some((original, bytes)) = joined else {
                let lost = format!("a part of dead letter {} is missing", raw.sequence);
                return Ok(Some((raw.sequence, Err(Error::Refused(lost)))));
            };
            headers.extend(original);
            payload = bytes;
        }
        Ok(Some((raw.sequence, Ok(dead_letter::parse(raw.sequence, headers, payload)))))
    }

    /// The original headers and bytes of a letter that is stored in parts.
    async fn joined(&self, id: &str, parts: u64) -> Result<Option<(Vec<(String, String)>, Bytes)>> {
        let (api, stream) = (&self.inner.api, &self.inner.streams.home);
        let mut body = Vec::new();
        for part in 0..parts {
            let request = json!({"last_by_subj": stream.part_subject(id, &part.to_string())});
            let Some(raw) = api.stored(&stream.dead_letter_stream(), &request).await? else {
                return Ok(None);
            };
            body.extend_from_slice(&raw.payload);
        }
        // The first line contains no line break, so this one ends it.
        let Some(end) = body.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let payload = Bytes::from(body.split_off(end + 1));
        Ok(serde_json::from_slice(&body[..end]).ok().map(|headers| (headers, payload)))
    }
}

/// The id of a letter, if we have made it: somebody else's text must not become a part of a subject.
fn letter_id(headers: &[(String, String)]) -> Option<&str> {
    header(headers, MESSAGE_ID).filter(|id| Uuid::try_parse(id).is_ok())
}

/// The headers of a stored message: `NATS/1.0`, then a line for each.
pub(super) fn parse_headers(block: &str) -> Vec<(String, String)> {
    let lines = block.split("\r\n").skip(1);
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}
