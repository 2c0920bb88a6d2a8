//! Events from attackers or from broken programs.

use fastrand::Rng;
use serde_json::{Value, json};
use tests::nats::SUBJECTS;
use uuid::Uuid;

/// One message to publish.
#[derive(Debug, Clone)]
pub(crate) struct Hostile {
    pub(crate) subject: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Vec<u8>,
    /// If it can never be handled, it must become a complete dead letter with one of these classes.
    pub(crate) dies_of: &'static [&'static str],
    /// The customer that it may create, if any.
    pub(crate) customer: Option<Uuid>,
    /// It names a customer of somebody else, who is inserted when it is published.
    pub(crate) takes_over: bool,
    /// Over HTTP, a sender can choose neither NATS subjects nor headers.
    pub(crate) broker_only: bool,
    /// Its header block, if no client could write or read it.
    pub(crate) unreadable: Option<&'static [u8]>,
}

/// Not a CloudEvent.
const NO_EVENT: &[&str] = &["NotACloudEvent"];

/// A worker has refused it.
const REFUSED: &[&str] = &["PodFailurePolicy"];

/// More than a program can be given.
const TOO_LONG: &[&str] = &["Plan-check", "TooLarge"];

/// Header blocks that no client library reads.
pub(crate) const UNREADABLE: [&[u8]; 3] = [b"my header: x", b"a: \xff\xfe", b"no colon"];

impl Hostile {
    /// Whether it can never be handled.
    pub(crate) fn must_die(&self) -> bool {
        !self.dies_of.is_empty()
    }
}

/// A valid registration with a note of this many bytes.
pub(crate) fn padded(chance: &mut Rng, size: usize) -> Hostile {
    let (customer, id) = (uuid(chance), uuid(chance));
    let mut event = registration(customer, id, "Padded");
    event["data"]["note"] = json!("x".repeat(size));
    Hostile { dies_of: TOO_LONG, ..on(SUBJECTS[0], event.to_string().into_bytes()) }
}

/// A registration with headers that no client reads.
pub(crate) fn unreadable(chance: &mut Rng, headers: &'static [u8]) -> Hostile {
    let payload = registration(uuid(chance), uuid(chance), "Unreadable").to_string().into_bytes();
    Hostile { unreadable: Some(headers), dies_of: &["UnreadableHeaders"], ..on(SUBJECTS[0], payload) }
}

/// A placeholder for the customer that the event names.
pub(crate) const SOMEBODY: &str = "00000000-0000-4000-8000-00000000dead";

/// The subjects that start a Job.
const STEPS: usize = SUBJECTS.len() - 1;

/// A random one.
pub(crate) fn any(chance: &mut Rng) -> Hostile {
    let subject = SUBJECTS[chance.usize(..STEPS)];
    let dead = |payload: Vec<u8>| Hostile { dies_of: NO_EVENT, ..on(subject, payload) };
    // Rare, because they need much disk and memory.
    if chance.u8(..64) == 0 {
        return Hostile { dies_of: TOO_LONG, ..on(SUBJECTS[0], heavy(chance)) };
    }
    match chance.u8(..13) {
        0 => dead((0..chance.usize(1..400)).map(|_| chance.u8(..)).chain([0xFF]).collect()),
        1 => dead(truncated(chance)),
        2 => dead(nested(chance)),
        3 => dead(b"[]{}null\"\""[..chance.usize(1..10)].to_vec()),
        4 => dead(large(chance)),
        5 => dead(incomplete(chance).to_string().into_bytes()),
        6 => wrong_types(chance),
        7 => takeover(chance),
        8 => wrong_subject(chance),
        9 => odd_headers(chance),
        10 => binary(chance),
        11 => spaces(chance),
        12 => capitals(chance),
        _ => strange_name(chance),
    }
}

fn on(subject: &'static str, payload: Vec<u8>) -> Hostile {
    Hostile {
        subject,
        headers: Vec::new(),
        payload,
        dies_of: &[],
        customer: None,
        takes_over: false,
        broker_only: false,
        unreadable: None,
    }
}

fn uuid(chance: &mut Rng) -> Uuid {
    uuid::Builder::from_random_bytes(chance.u128(..).to_be_bytes()).into_uuid()
}

fn text(chance: &mut Rng, length: usize) -> String {
    const PIECES: [&str; 14] =
        ["{{", "}}", "\"", "'", "\n", ": ", "- ", "#", "\u{0}", "\u{7f}", "&a", "*a", "!!x", "\u{1F600}"];
    (0..length)
        .map(|_| match chance.u8(..4) {
            0 => PIECES[chance.usize(..PIECES.len())].to_owned(),
            1 => chance.char(..).to_string(),
            _ => chance.alphanumeric().to_string(),
        })
        .collect()
}

fn registration(customer: Uuid, id: Uuid, name: &str) -> Value {
    let email = format!("h.{}@x.example", &id.simple().to_string()[..16]);
    json!({
        "specversion": "1.0", "id": id, "source": "knapscen.disco", "type": "disco.knapscen.customer.registered",
        "subject": customer, "time": "2026-02-27T09:15:00Z", "datacontenttype": "application/json",
        "data": {"name": name, "subscription_tier": "basic", "shipping_address": "1 Wharf",
                 "users": [{"name": "H", "email": email, "role": "customer_account_owner"}]},
    })
}

fn truncated(chance: &mut Rng) -> Vec<u8> {
    let mut whole = registration(uuid(chance), uuid(chance), "Half & Half").to_string().into_bytes();
    whole.truncate(chance.usize(1..whole.len() - 1));
    whole
}

fn nested(chance: &mut Rng) -> Vec<u8> {
    let depth = chance.usize(200..5_000);
    let mut payload = br#"{"specversion":"1.0","id":"n","source":"s","type":"t","data":"#.to_vec();
    payload.extend(std::iter::repeat_n(b'[', depth));
    payload.extend(std::iter::repeat_n(b']', depth));
    payload.push(b'}');
    payload
}

fn large(chance: &mut Rng) -> Vec<u8> {
    let mut payload = br#"{"specversion":"1.0","id":""#.to_vec();
    payload.extend(std::iter::repeat_n(b'x', chance.usize(1_000..60_000)));
    payload
}

/// A normal registration, except for an address or an id that is longer than a program can be given.
fn heavy(chance: &mut Rng) -> Vec<u8> {
    let mut event = registration(uuid(chance), uuid(chance), "Heavy");
    let long = json!(format!("{}{}", uuid(chance), "x".repeat(chance.usize((132 << 10)..(200 << 10)))));
    if chance.bool() {
        event["data"]["shipping_address"] = long;
    } else {
        event["id"] = long;
    }
    event.to_string().into_bytes()
}

/// A CloudEvent without one of its required attributes.
fn incomplete(chance: &mut Rng) -> Value {
    let mut event = registration(uuid(chance), uuid(chance), "Incomplete");
    let missing = ["specversion", "id", "source", "type"][chance.usize(..4)];
    if let Some(fields) = event.as_object_mut() {
        fields.remove(missing);
    }
    event
}

fn value(chance: &mut Rng) -> Value {
    match chance.u8(..7) {
        0 => json!(chance.f64() * 1e300),
        1 => json!([[], {}, null]),
        2 => json!({"a": {"b": text(chance, 5)}}),
        3 => json!(true),
        4 => json!(i64::MIN),
        5 => json!(text(chance, 20)),
        _ => Value::Null,
    }
}

/// A registration with values of any type in place of texts.
fn wrong_types(chance: &mut Rng) -> Hostile {
    let (customer, id) = (uuid(chance), uuid(chance));
    let mut event = registration(customer, id, "Wrong");
    let field = ["name", "subscription_tier", "users", "shipping_address"][chance.usize(..4)];
    event["data"][field] = value(chance);
    let payload = event.to_string().into_bytes();
    // Some of these may be valid names or addresses; then a customer is created.
    Hostile { customer: Some(customer), ..on(SUBJECTS[0], payload) }
}

/// A registration, or an order to save a customer, in the name of an existing one.
fn takeover(chance: &mut Rng) -> Hostile {
    let customer = Uuid::parse_str(SOMEBODY).unwrap_or_default();
    let mut event = registration(customer, uuid(chance), "Taken over");
    let subject = SUBJECTS[chance.usize(..2)];
    if subject != SUBJECTS[0] {
        event["type"] = json!("disco.knapscen.customer.saved");
    }
    let payload = event.to_string().into_bytes();
    Hostile { takes_over: true, ..on(subject, payload) }
}

/// A valid registration on the subject of another event: no trigger takes it, and no customer may be created.
fn wrong_subject(chance: &mut Rng) -> Hostile {
    let payload = registration(uuid(chance), uuid(chance), "Astray").to_string().into_bytes();
    let subject = SUBJECTS[chance.usize(1..STEPS)];
    Hostile { broker_only: true, dies_of: &["Unmatched"], ..on(subject, payload) }
}

/// A valid registration whose headers contain something forbidden or unreadable.
fn odd_headers(chance: &mut Rng) -> Hostile {
    const ODD: [(&str, &str); 12] = [
        ("Replay", "-1"),
        ("Replay", "1"),
        ("Replay", "2147483647"),
        ("Replay", "99999999999999999999"),
        ("Replay", "soon"),
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/cloudevents+json; charset=utf-16"),
        ("Content-Type", "\u{130};;=\""),
        ("ce-id", "another"),
        ("Dead-Letter-Subject", "customer-saved"),
        ("Dead-Letter-Number", "1"),
        ("traceparent", "00-0-0-0"),
    ];
    let (customer, id) = (uuid(chance), uuid(chance));
    let payload = registration(customer, id, "Odd headers").to_string().into_bytes();
    let mut headers: Vec<_> = (0..chance.usize(1..4))
        .map(|_| ODD[chance.usize(..ODD.len())])
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    let message_id = if chance.bool() { id.to_string() } else { format!("{id}{}", "y".repeat(4_000)) };
    headers.push(("Nats-Msg-Id", message_id));
    Hostile { headers, customer: Some(customer), broker_only: true, ..on(SUBJECTS[0], payload) }
}

/// A registration in binary mode, often without required attributes.
fn binary(chance: &mut Rng) -> Hostile {
    let (customer, id) = (uuid(chance), uuid(chance));
    let event = registration(customer, id, "Binary \u{1F4BE}");
    let mut headers = vec![("ce-specversion", "1.0".to_owned())];
    for (header, attribute) in
        [("ce-id", "id"), ("ce-source", "source"), ("ce-type", "type"), ("ce-subject", "subject")]
    {
        headers.push((header, event[attribute].as_str().unwrap_or_default().to_owned()));
    }
    let damage = chance.usize(..8);
    let dies_of = if damage < 4 { NO_EVENT } else { &[] };
    match damage {
        // The version must stay, otherwise it is another mode.
        0 => "0.3".clone_into(&mut headers[0].1),
        1..4 => drop(headers.remove(damage)),
        4 => headers.push(("Content-Type", "text/plain".to_owned())),
        5 => headers.push(("ce-time", "%zz yesterday".to_owned())),
        _ => headers.push(("Content-Type", "application/json".to_owned())),
    }
    let payload = event["data"].to_string().into_bytes();
    Hostile { headers, dies_of, customer: Some(customer), broker_only: true, ..on(SUBJECTS[0], payload) }
}

/// In the name of an existing customer with spaces after it, which some databases regard as equal.
fn spaces(chance: &mut Rng) -> Hostile {
    let mut event = registration(uuid(chance), uuid(chance), "Spaces");
    event["subject"] = json!(format!("{SOMEBODY}{}", " ".repeat(chance.usize(1..4))));
    let payload = event.to_string().into_bytes();
    Hostile { takes_over: true, ..on(SUBJECTS[0], payload) }
}

/// A name of capital letters that become two characters each in lower case; some are then too long.
fn capitals(chance: &mut Rng) -> Hostile {
    let (customer, id) = (uuid(chance), uuid(chance));
    let length = if chance.bool() { 64 } else { 128 };
    let payload = registration(customer, id, &"\u{130}".repeat(length)).to_string().into_bytes();
    let dies_of = if length > 64 { REFUSED } else { &[] };
    Hostile { dies_of, customer: Some(customer), ..on(SUBJECTS[0], payload) }
}

/// A registration that may be valid, with a name made of troublesome parts.
fn strange_name(chance: &mut Rng) -> Hostile {
    let (customer, id) = (uuid(chance), uuid(chance));
    let length = chance.usize(1..40);
    let name = text(chance, length);
    let payload = registration(customer, id, &name).to_string().into_bytes();
    Hostile { customer: Some(customer), ..on(SUBJECTS[0], payload) }
}
