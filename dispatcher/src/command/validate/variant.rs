//! Variants of a sample event: optional fields missing or null, one by one and all at once.

use serde_json::{Map, Value};
use shared::event::Kind;

use crate::onboarding::step::optional_fields;

/// A sample with fields removed.
pub(super) struct Variant {
    /// The change, for the report: `without data.users`.
    pub(super) what: String,
    pub(super) payload: Vec<u8>,
    /// Whether the contract says that the field is optional, so that a template must work without it. Unknown for a
    /// foreign event.
    pub(super) must_work: bool,
}

/// Optional attributes of the envelope. The subject stays, because it is half of a Job's identity.
const ATTRIBUTES: [&str; 6] =
    ["time", "datacontenttype", "traceparent", "correlationid", "causationid", "hopcount"];

/// The variants of a structured-mode event; empty if it is not a JSON object.
pub(super) fn variants(payload: &[u8]) -> Vec<Variant> {
    let Ok(Value::Object(event)) = serde_json::from_slice::<Value>(payload) else { return Vec::new() };
    let kind = event.get("type").and_then(Value::as_str).and_then(Kind::from_type);
    let fields: Vec<String> = match (kind, event.get("data")) {
        (Some(kind), _) => optional_fields(kind).iter().map(|field| (*field).to_owned()).collect(),
        (None, Some(Value::Object(data))) => data.keys().cloned().collect(),
        (None, _) => Vec::new(),
    };
    let mut variants = Vec::new();
    let mut add = |what: String, event: &Map<String, Value>, must_work| {
        let payload = Value::Object(event.clone()).to_string().into_bytes();
        variants.push(Variant { what, payload, must_work });
    };
    let mut least = event.clone();
    for name in ATTRIBUTES {
        least.remove(name);
        let mut less = event.clone();
        if less.remove(name).is_some() {
            add(format!("without {name}"), &less, true);
        }
    }
    for field in &fields {
        let mut less = event.clone();
        if let Some(data) = less.get_mut("data").and_then(Value::as_object_mut) {
            data.remove(field);
            add(format!("without data.{field}"), &less, kind.is_some());
        }
        if let Some(data) = less.get_mut("data").and_then(Value::as_object_mut) {
            data.insert(field.clone(), Value::Null);
            add(format!("with data.{field}: null"), &less, kind.is_some());
        }
    }
    if kind.is_some()
        && let Some(data) = least.get_mut("data").and_then(Value::as_object_mut)
    {
        data.retain(|name, _| !fields.contains(name));
    }
    add("without every optional field".into(), &least, true);
    variants
}
