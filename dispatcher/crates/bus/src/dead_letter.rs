//! Messages that cannot be handled: the whole message, and the reason. Both buses keep them in the same form: the
//! original headers and bytes, and our facts in headers `Dead-Letter-*`.

use base64::Engine as _;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use shared::event::flow;
use uuid::Uuid;

use super::Delivery;
use super::delivery::replay_count;
use super::message::{MESSAGE_ID, Message, REPLAY, header};
use job::{Failure, FailureClass, Report, masked};

/// Longest text of a fact, in bytes.
const FACT_LIMIT: usize = 2048;

/// A page with payloads ends once it has more bytes than this.
pub(super) const PAGE_BYTES: usize = 2 << 20;

const OURS: &str = "Dead-Letter-";

const ORIGINAL: &str = "Dead-Letter-Original-";

/// The block of headers, in base64, if no client can parse it.
pub(super) const RAW_HEADERS: &str = "Dead-Letter-Raw-Headers";

/// Headers by which a publisher steers the server. A replay leaves them out: the server would refuse it, or act on
/// them again.
const CONTROL: [&str; 7] =
    ["nats-msg-id", "nats-expected-", "nats-rollup", "nats-ttl", "nats-schedule", "nats-batch-", "nats-incr"];

/// Why a message is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterInfo {
    /// Why it failed. The exit code is not stored.
    pub failure: Failure,
    /// The triggers that failed.
    pub triggers: Vec<String>,
    /// The flow key of the event, which the list can be filtered by.
    pub flow_key: String,
    /// The id of the event, if it has one.
    pub event_id: String,
    /// How many attempts it had.
    pub attempts: u64,
    /// When it failed for the first time, if that is known.
    pub first_failed_at: Option<DateTime<Utc>>,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number among the dead letters: operators name it by this.
    pub number: u64,
    /// The subject that it was first published on; empty if no dispatcher has made this dead letter.
    pub subject: String,
    /// The original headers.
    pub headers: Vec<(String, String)>,
    /// The original bytes.
    pub payload: Bytes,
    /// Why it is here.
    pub info: DeadLetterInfo,
    /// How often it was replayed before.
    pub replay: u32,
    /// Its number in the stream that it came from.
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
    /// Only where this text occurs in [`DeadLetterInfo::flow_key`], or else in the event.
    pub flow: Option<String>,
    /// Only where this text occurs in the class, the reason or what the Job said.
    pub reason: Option<String>,
    /// Search only what everybody may see: addresses masked, and no event. Otherwise a search would tell what is
    /// hidden.
    pub masked: bool,
    /// With the events; without them a letter's payload is empty.
    pub payloads: bool,
    /// Begin after this number: [`Page::next`] of the page before.
    pub after: u64,
    /// At most this many.
    pub limit: usize,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub letters: Vec<DeadLetter>,
    /// Where the next page begins; `None` if this is the last. A page can be short, or even empty, and not be the
    /// last.
    pub next: Option<u64>,
}

/// What a bus stores.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub id: String,
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
}

impl Default for Filter {
    fn default() -> Self {
        Self { subject: None, flow: None, reason: None, masked: false, payloads: true, after: 0, limit: 100 }
    }
}

impl Filter {
    /// Whether the events have to be read.
    pub(super) const fn reads_payloads(&self) -> bool {
        self.payloads || (self.flow.is_some() && !self.masked)
    }

    /// The letter in the form that the filter asks for, or `None` if it does not match.
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
        let about = self.flow.as_ref().is_none_or(|part| {
            has(&letter.info.flow_key, part)
                || (!self.masked && has(&String::from_utf8_lossy(&letter.payload), part))
        });
        let failure = &letter.info.failure;
        let reason = self.reason.as_ref().is_none_or(|part| {
            [failure.class.name(), &failure.message, failure.report.as_str()]
                .iter()
                .any(|text| has(text, part))
        });
        subject && about && reason
    }
}

impl DeadLetter {
    /// A dead letter for people and programs: its facts, and its bytes as text or base64.
    pub fn view(&self) -> Value {
        let mut view = json!({
            "number": self.number,
            "subject": self.subject,
            "class": self.info.failure.class,
            "reason": self.info.failure.message,
            "message": self.info.failure.report,
            "triggers": self.info.triggers,
            (flow::FIELD): self.info.flow_key,
            "event_id": self.info.event_id,
            "attempts": self.info.attempts,
            "replay": self.replay,
            "sequence": self.sequence,
            "published_at": self.published_at,
            "failed_at": self.failed_at,
            "headers": self.headers,
        });
        match std::str::from_utf8(&self.payload) {
            Ok(text) => view["payload"] = json!(text),
            Err(_) => view["payload_base64"] = json!(base64::prelude::BASE64_STANDARD.encode(&self.payload)),
        }
        view
    }

    /// How many bytes it adds to a page.
    pub(super) fn bytes(&self) -> usize {
        super::message::size(&self.headers, &self.payload)
    }

    /// The message to publish for a replay. Its id is the same each time. The id is short, so that a message of the
    /// largest size still has room for it.
    pub(super) fn replayed(&self, with_id: bool) -> Message {
        let control = |name: &str| {
            let name = name.to_ascii_lowercase();
            name == REPLAY.to_ascii_lowercase() || CONTROL.iter().any(|prefix| name.starts_with(prefix))
        };
        let replay = self.replay.saturating_add(1);
        let kept = self.headers.iter().filter(|(name, _)| !control(name)).cloned();
        let moment = self.failed_at.timestamp_nanos_opt().unwrap_or_default();
        Message {
            subject: self.subject.clone(),
            id: with_id.then(|| format!("replay:{}:{}:{replay}:{moment}", self.subject, self.number)),
            headers: kept.chain([(REPLAY.to_owned(), replay.to_string())]).collect(),
            payload: self.payload.clone(),
        }
    }
}

/// The dead letter of a delivery, as it is stored. Every repeat for the same message has the same id.
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
    fact("Reason", info.failure.message.clone());
    fact("Class", info.failure.class.to_string());
    fact("Triggers", info.triggers.join(","));
    fact("Message", info.failure.report.as_str().to_owned());
    fact(flow::HEADER, info.flow_key.clone());
    fact("Event-Id", info.event_id.clone());
    fact("Subject", delivery.subject.clone());
    fact("Sequence", delivery.sequence.to_string());
    fact("Attempts", info.attempts.to_string());
    fact("Published", published);
    fact("Failed", Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true));
    fact("First-Failed", info.first_failed_at.map_or(String::new(), |at| at.to_rfc3339()));
    Letter { id, subject: delivery.subject.clone(), headers, payload: delivery.payload.clone() }
}

/// Reads back what [`compose`] made. A message that somebody else has stored there becomes a letter without a
/// subject, so that it can be dropped.
pub(super) fn parse(number: u64, stored: Vec<(String, String)>, payload: Bytes) -> DeadLetter {
    let fact = |name: &str| header(&stored, &format!("{OURS}{name}")).map(many_lines).unwrap_or_default();
    let time =
        |name: &str| DateTime::parse_from_rfc3339(&fact(name)).ok().map(|time| time.with_timezone(&Utc));
    let subject = fact("Subject");
    let mut info = DeadLetterInfo {
        failure: Failure {
            class: fact("Class").parse().unwrap_or_default(),
            exit_code: None,
            message: fact("Reason"),
            report: Report::from_text(&fact("Message")),
        },
        triggers: fact("Triggers").split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        flow_key: fact(flow::HEADER),
        event_id: fact("Event-Id"),
        attempts: fact("Attempts").parse().unwrap_or(0),
        first_failed_at: time("First-Failed"),
    };
    if subject.is_empty() {
        let reason = format!("it has no header {OURS}Subject: no dispatcher has made it");
        info.failure = Failure::new(FailureClass::Foreign, reason);
    }
    let sequence = fact("Sequence").parse().unwrap_or(0);
    let published_at = time("Published");
    let failed_at = time("Failed").unwrap_or_default();
    // Unreadable headers are shown as far as possible; a replay is refused because of them.
    let unreadable =
        header(&stored, RAW_HEADERS).map(|block| ("unreadable headers".to_owned(), block.to_owned()));
    let headers: Vec<_> = stored
        .into_iter()
        .filter_map(|(name, value)| Some((first_name(&name)?, value)))
        .chain(unreadable)
        .collect();
    let replay = replay_count(&headers);
    DeadLetter { number, subject, headers, payload, info, replay, sequence, published_at, failed_at }
}

/// Whether a stored header is one of our facts, which lists and filters read; the rest belongs to the message.
pub(super) fn is_fact(name: &str) -> bool {
    (name.starts_with(OURS) && !name.starts_with(ORIGINAL) && name != RAW_HEADERS) || name == REPLAY
}

/// An original header is renamed if its name means something to the server or to us.
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
