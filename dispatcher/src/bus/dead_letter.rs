//! Messages that cannot be handled, whole, with why. Both buses keep them in the same form: the original headers and
//! bytes, and our facts in headers `Dead-Letter-*`.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use super::delivery::replay_count;
use super::message::{MESSAGE_ID, Message, REPLAY, header};
use super::{Delivery, Error, Result};
use crate::logging::masked;

/// Longest text of a fact, in bytes.
const FACT_LIMIT: usize = 2048;

const OURS: &str = "Dead-Letter-";
const ORIGINAL: &str = "Dead-Letter-Original-";

/// The block of headers, in base64, of a message whose headers no client can read.
pub(super) const RAW_HEADERS: &str = "Dead-Letter-Raw-Headers";

/// Headers by which a publisher steers the server: not repeated by a replay, they would refuse it or worse.
const CONTROL: [&str; 7] =
    ["nats-msg-id", "nats-expected-", "nats-rollup", "nats-ttl", "nats-schedule", "nats-batch-", "nats-incr"];

/// Why a message is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterInfo {
    /// One sentence for people.
    pub reason: String,
    /// One word for machines, such as `failed` or `not_a_cloud_event`.
    pub class: String,
    /// The triggers that failed.
    pub triggers: Vec<String>,
    /// The job's own words.
    pub message: String,
    /// Who is concerned: a customer's id or name, for the filter of the list.
    pub customer: String,
    /// The id of the event, if it has one.
    pub event_id: String,
    /// When it failed first, if that is known.
    pub first_failed_at: Option<DateTime<Utc>>,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number among the dead letters: the name by which people call it.
    pub number: u64,
    /// Where it was published first.
    pub subject: String,
    /// The original headers.
    pub headers: Vec<(String, String)>,
    /// The original bytes.
    pub payload: Bytes,
    /// Why it is here.
    pub info: DeadLetterInfo,
    /// How often it was tried.
    pub attempts: u64,
    /// How often it was replayed before.
    pub replay: u32,
    /// Its number in the stream it came from.
    pub sequence: u64,
    /// When it was published.
    pub published_at: Option<DateTime<Utc>>,
    /// When it was given up.
    pub failed_at: DateTime<Utc>,
}

/// Which dead letters to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// This subject only.
    pub subject: Option<String>,
    /// Only where this text occurs in the customer, or else in the event.
    pub customer: Option<String>,
    /// Only where this text occurs in the class, the reason or the job's words.
    pub reason: Option<String>,
    /// Look only at what anybody may see, addresses masked and no event: whether something matches would else tell it.
    pub masked: bool,
    /// With the events; without them a letter's payload is empty.
    pub payloads: bool,
    /// Begin after this number: [`Page::next`] of the page before.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub letters: Vec<DeadLetter>,
    /// Where the next page begins; `None` when this is the last. A page may be short, even empty, and not the last.
    pub next: Option<u64>,
}

/// What a bus stores.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub id: String,
    pub subject: String,
    /// The number of the message in its stream.
    pub sequence: u64,
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
}

impl Default for Filter {
    fn default() -> Self {
        let (subject, customer, reason) = (None, None, None);
        Self { subject, customer, reason, masked: false, payloads: true, after: 0, limit: 100 }
    }
}

impl Filter {
    /// Whether the events have to be read.
    pub(super) const fn reads_payloads(&self) -> bool {
        self.payloads || (self.customer.is_some() && !self.masked)
    }

    /// The letter as it is wanted, if it is.
    pub(super) fn apply(&self, letter: DeadLetter) -> Option<DeadLetter> {
        let wanted = self.matches(&letter);
        let payload = if self.payloads { letter.payload.clone() } else { Bytes::new() };
        wanted.then_some(DeadLetter { payload, ..letter })
    }

    /// Text is compared without case.
    fn matches(&self, letter: &DeadLetter) -> bool {
        let shown = |text: &str| if self.masked { masked(text).to_lowercase() } else { text.to_lowercase() };
        let has = |text: &str, part: &str| shown(text).contains(&part.to_lowercase());
        let subject = self.subject.as_ref().is_none_or(|subject| *subject == letter.subject);
        let customer = self.customer.as_ref().is_none_or(|part| {
            has(&letter.info.customer, part)
                || (!self.masked && has(&String::from_utf8_lossy(&letter.payload), part))
        });
        let reason = self.reason.as_ref().is_none_or(|part| {
            [&letter.info.class, &letter.info.reason, &letter.info.message].iter().any(|text| has(text, part))
        });
        subject && customer && reason
    }
}

impl DeadLetter {
    /// The message to publish for a replay. Its id is the same however often it is asked for.
    pub(super) fn replayed(&self) -> Message {
        let control = |name: &str| {
            let name = name.to_ascii_lowercase();
            name == REPLAY.to_ascii_lowercase() || CONTROL.iter().any(|prefix| name.starts_with(prefix))
        };
        let replay = self.replay.saturating_add(1);
        let kept = self.headers.iter().filter(|(name, _)| !control(name)).cloned();
        let moment = self.failed_at.timestamp_nanos_opt().unwrap_or_default();
        Message {
            subject: self.subject.clone(),
            id: Some(format!("replay:{}:{}:{replay}:{moment}", self.subject, self.number)),
            headers: kept.chain([(REPLAY.to_owned(), replay.to_string())]).collect(),
            payload: self.payload.clone(),
        }
    }
}

/// The dead letter of a delivery, as it is stored. The id is the same for every repeat of the same message.
pub(super) fn compose(delivery: &Delivery, info: &DeadLetterInfo) -> Letter {
    let published = delivery.published_at.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let identity = format!("dead-letter\n{}\n{}\n{published}", delivery.subject, delivery.sequence);
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, identity.as_bytes()).to_string();
    let mut headers: Vec<_> =
        delivery.headers.iter().map(|(name, value)| (original_name(name), value.clone())).collect();
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            headers.push((format!("{OURS}{name}"), one_line(&value)));
        }
    };
    fact("Reason", info.reason.clone());
    fact("Class", info.class.clone());
    fact("Triggers", info.triggers.join(","));
    fact("Message", info.message.clone());
    fact("Customer", info.customer.clone());
    fact("Event-Id", info.event_id.clone());
    fact("Subject", delivery.subject.clone());
    fact("Sequence", delivery.sequence.to_string());
    fact("Attempts", delivery.attempt.to_string());
    fact("Published", published);
    fact("Failed", Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true));
    fact("First-Failed", info.first_failed_at.map_or(String::new(), |at| at.to_rfc3339()));
    Letter {
        id,
        subject: delivery.subject.clone(),
        sequence: delivery.sequence,
        headers,
        payload: delivery.payload.clone(),
    }
}

/// Reads back what [`compose`] made.
pub(super) fn parse(number: u64, stored: Vec<(String, String)>, payload: Bytes) -> Result<DeadLetter> {
    let fact = |name: &str| header(&stored, &format!("{OURS}{name}")).map(many_lines).unwrap_or_default();
    let time =
        |name: &str| DateTime::parse_from_rfc3339(&fact(name)).ok().map(|time| time.with_timezone(&Utc));
    let subject = fact("Subject");
    if subject.is_empty() {
        return Err(Error::Refused(format!(
            "dead letter {number} has no header {OURS}Subject: it is not one of ours"
        )));
    }
    let info = DeadLetterInfo {
        reason: fact("Reason"),
        class: fact("Class"),
        triggers: fact("Triggers").split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        message: fact("Message"),
        customer: fact("Customer"),
        event_id: fact("Event-Id"),
        first_failed_at: time("First-Failed"),
    };
    let attempts = fact("Attempts").parse().unwrap_or(0);
    let sequence = fact("Sequence").parse().unwrap_or(0);
    let published_at = time("Published");
    let failed_at = time("Failed").unwrap_or_default();
    // What can be shown of unreadable headers; a replay is refused for them.
    let unreadable =
        header(&stored, RAW_HEADERS).map(|block| ("unreadable headers".to_owned(), block.to_owned()));
    let headers: Vec<_> = stored
        .into_iter()
        .filter_map(|(name, value)| Some((first_name(&name)?, value)))
        .chain(unreadable)
        .collect();
    let replay = replay_count(&headers);
    Ok(DeadLetter {
        number,
        subject,
        headers,
        payload,
        info,
        attempts,
        replay,
        sequence,
        published_at,
        failed_at,
    })
}

/// An original header moves aside where its name means something to the server or to us.
fn original_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("nats-") || lower.starts_with("dead-letter-") {
        format!("{ORIGINAL}{name}")
    } else {
        name.to_owned()
    }
}

/// The original name of a stored header; `None` for ours.
fn first_name(name: &str) -> Option<String> {
    match name.strip_prefix(ORIGINAL) {
        Some(original) => Some(original.to_owned()),
        None if name.starts_with(OURS) || name == MESSAGE_ID => None,
        None => Some(name.to_owned()),
    }
}

/// Header values are one line: line breaks become `\n`, and the text is cut at [`FACT_LIMIT`].
fn one_line(text: &str) -> String {
    let mut end = text.len().min(FACT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let escaped = text[..end].replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    if end < text.len() { escaped + "…" } else { escaped }
}

fn many_lines(text: &str) -> String {
    let mut letters = text.chars();
    let mut lines = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => lines.push('\n'),
                Some('r') => lines.push('\r'),
                Some(other) => lines.push(other),
                None => lines.push('\\'),
            },
            other => lines.push(other),
        }
    }
    lines
}
