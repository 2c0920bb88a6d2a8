//! The dead letters in their stream. Reads them through the raw message API: no consumer is left behind, and a header
//! that a client cannot parse does not matter.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::api::Api;
use super::stream::{Wanted, info_of};
use super::{JetStream, header_map};
use crate::bus::dead_letter::{self, Letter};
use crate::bus::message::header;
use crate::bus::{DeadLetter, Error, Filter, MESSAGE_ID, Page, Result};

/// How many letters one page looks at: a filter that matches little comes back with a short page and where to go on.
const LOOKS: u64 = 1_000;

/// Letters that are asked for at once: each may be a mebibyte.
const AT_ONCE: u64 = 16;

/// Says that the bytes of a letter are in the stream it came from: with our facts they are larger than a message may be.
const LEFT: &str = "Dead-Letter-Payload-Left-At";

/// Stores a letter; the server drops a repeat of the same one.
pub(super) async fn store(api: &Api, stream: &Wanted, letter: Letter) -> Result<()> {
    let mut headers = letter.headers;
    headers.push((MESSAGE_ID.to_owned(), letter.id));
    let subject = stream.dead_letter_subject(&letter.subject);
    let mut stored = api.publish(&subject, header_map(&headers)?, letter.payload.clone()).await;
    if stored.as_ref().is_err_and(Error::try_again) {
        // The stream may be missing: somebody removed it, or this process never ensured its subjects.
        stream.ensure_dead_letters(api).await?;
        stored = api.publish(&subject, header_map(&headers)?, letter.payload).await;
    } else if matches!(stored, Err(Error::Refused(_))) {
        headers.push((LEFT.to_owned(), letter.sequence.to_string()));
        stored = api.publish(&subject, header_map(&headers)?, Bytes::new()).await;
    }
    stored.map(drop)
}

impl JetStream {
    pub(in crate::bus) async fn dead_letters(&self, filter: &Filter) -> Result<Page> {
        let wildcard = filter.subject.as_deref().unwrap_or(">");
        let subject = self.inner.stream.dead_letter_subject(wildcard);
        let mut page = Page::default();
        let (mut after, mut looks, mut width) = (filter.after, 0, 1);
        while looks < LOOKS {
            let (found, end) = self.found_from_each_of(after, width, &subject, filter).await?;
            looks += width;
            // Numbers with gaps between them are met twice: then fewer at once are enough.
            width = if found.len() as u64 == width { (width * 2).min(AT_ONCE) } else { width.div_ceil(2) };
            for (number, letter) in found {
                if page.letters.len() >= filter.limit {
                    page.next = Some(after);
                    return Ok(page);
                }
                after = number;
                page.letters.extend(letter);
            }
            if end {
                return Ok(page);
            }
        }
        page.next = Some(after);
        Ok(page)
    }

    /// The first letter from each of so many numbers on, those that are wanted; and whether there are no more. Between them is none
    /// that is not found.
    async fn found_from_each_of(
        &self,
        after: u64,
        width: u64,
        subject: &str,
        filter: &Filter,
    ) -> Result<(BTreeMap<u64, Option<DeadLetter>>, bool)> {
        let looks = (1..=width).map(|step| async move {
            let request = json!({"seq": after.saturating_add(step), "next_by_subj": subject});
            let found = self.raw(&request, filter.reads_payloads()).await?;
            // Filtered here: what is not wanted does not wait for the others.
            Ok(found.map(|(number, letter)| {
                let letter = letter.inspect_err(|error| tracing::warn!("{error}")).ok();
                (number, letter.and_then(|letter| filter.apply(letter)))
            }))
        });
        let found = futures_util::future::join_all(looks).await.into_iter().collect::<Result<Vec<_>>>()?;
        let end = found.last().is_none_or(Option::is_none);
        Ok((found.into_iter().flatten().collect(), end))
    }

    pub(in crate::bus) async fn dead_letter_by_number(&self, number: u64) -> Result<Option<DeadLetter>> {
        self.raw(&json!({"seq": number}), true).await?.map(|(_, letter)| letter).transpose()
    }

    pub(in crate::bus) async fn dead_letter_counts(&self) -> Result<BTreeMap<String, u64>> {
        let (api, stream) = (&self.inner.api, &self.inner.stream);
        let info = info_of(api, &stream.dead_letter_stream(), &stream.dead_letter_subject(">")).await?;
        let subjects = info.unwrap_or_default()["state"]["subjects"].take();
        let prefix = stream.dead_letter_subject("");
        let counts = subjects.as_object().into_iter().flatten().filter_map(|(subject, count)| {
            Some((subject.strip_prefix(&prefix)?.to_owned(), count.as_u64()?))
        });
        Ok(counts.collect())
    }

    pub(in crate::bus) async fn drop_dead_letter(&self, number: u64) -> Result<bool> {
        let call = format!("STREAM.MSG.DELETE.{}", self.inner.stream.dead_letter_stream());
        match self.inner.api.call(&call, &json!({"seq": number})).await? {
            Ok(_) => Ok(true),
            // Servers have several words for "there is none".
            Err(_) if self.raw(&json!({"seq": number}), false).await?.is_none() => Ok(false),
            Err(refusal) => Err(refusal.error(&format!("to remove dead letter {number}"))),
        }
    }

    /// A message of the dead-letter stream and its number; `None` if there is none.
    async fn raw(&self, request: &Value, whole: bool) -> Result<Option<(u64, Result<DeadLetter>)>> {
        let (api, stream) = (&self.inner.api, &self.inner.stream);
        let Some(raw) = api.stored(&stream.dead_letter_stream(), request).await? else { return Ok(None) };
        let headers = parse_headers(&String::from_utf8_lossy(&raw.headers));
        let mut payload = raw.payload;
        let left = header(&headers, LEFT).filter(|_| whole);
        if let Some(sequence) = left.and_then(|sequence| sequence.parse::<u64>().ok()) {
            let Some(original) = api.stored(&stream.name, &json!({"seq": sequence})).await? else {
                let lost = format!("stream {} does not keep message {sequence} any more", stream.name);
                return Ok(Some((raw.sequence, Err(Error::Refused(lost)))));
            };
            payload = original.payload;
        }
        Ok(Some((raw.sequence, dead_letter::parse(raw.sequence, headers, payload))))
    }
}

/// The headers of a stored message: `NATS/1.0`, then a line for each.
pub(super) fn parse_headers(block: &str) -> Vec<(String, String)> {
    let lines = block.split("\r\n").skip(1);
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}
