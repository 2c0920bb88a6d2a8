//! What can be read of an event that is too large to parse, because its parsed form would be many times larger.

use serde::Deserialize;

use crate::onboarding::customer;
use ::job::EventFacts;

/// The longest text that is kept, in characters.
const LONGEST: usize = 255;

/// The attributes, and what the event is about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Outline {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    source: String,
    subject: String,
    correlationid: Option<String>,
    traceparent: Option<String>,
    data: Data,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    customer_id: Option<String>,
    customer_name: Option<String>,
    name: Option<String>,
    user_id: Option<String>,
}

impl Outline {
    /// Reads a message in structured or binary mode; `None` if it is not an event.
    pub(super) fn of(headers: &[(String, String)], payload: &[u8]) -> Option<Self> {
        let header = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.clone())
        };
        let payload = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
        let outline = match header("ce-id") {
            Some(id) => Self {
                id,
                event_type: header("ce-type").unwrap_or_default(),
                source: header("ce-source").unwrap_or_default(),
                subject: header("ce-subject").unwrap_or_default(),
                correlationid: header("ce-correlationid"),
                traceparent: header("ce-traceparent"),
                data: serde_json::from_slice(payload).unwrap_or_default(),
            },
            None => serde_json::from_slice(payload).ok()?,
        };
        (!outline.id.is_empty()).then_some(outline)
    }

    /// Adds the facts of its delivery.
    pub(super) fn facts(self, arrived: EventFacts) -> EventFacts {
        let Data { customer_id, customer_name, name, user_id } = self.data;
        let customer = customer_id.unwrap_or_else(|| self.subject.clone());
        let customer_name = customer_name.or_else(|| name.filter(|_| user_id.is_none())).unwrap_or_default();
        EventFacts {
            id: cut(self.id),
            event_type: cut(self.event_type),
            source: cut(self.source),
            subject: cut(self.subject),
            correlation_id: self.correlationid.map(cut),
            traceparent: self.traceparent.map(cut),
            flow_key: cut(customer::as_workers_write(&customer)),
            flow_name: cut(customer_name),
            ..arrived
        }
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_customer_are_found_in_both_modes() {
        let users = "x".repeat(1 << 20);
        let structured = format!(
            r#"{{"data":{{"users":[{{"name":"{users}"}}],"name":"Acme"}},"id":"e1","type":"t","source":"s","subject":"c1","other":[[[]]]}}"#
        );
        let headers = [("ce-id", "e1"), ("Ce-Subject", "c1")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let binary = br#"{"name":"Acme","users":7}"#;
        for (headers, body) in [(&[][..], structured.as_bytes()), (&headers[..], &binary[..])] {
            let outline = Outline::of(headers, body).unwrap();
            assert_eq!((&*outline.id, &*outline.subject), ("e1", "c1"));
            assert_eq!(outline.data.name.as_deref(), Some("Acme"));
        }
    }

    #[test]
    fn what_is_no_event_has_none_and_long_texts_are_cut() {
        for body in ["", "[]", "{}", r#"{"id":7}"#, r#"{"id":"e""#, r#"{"id":"e","data":[]"#] {
            assert!(Outline::of(&[], body.as_bytes()).is_none(), "{body}");
        }
        assert_eq!(cut("é".repeat(1000)).chars().count(), LONGEST);
    }
}
