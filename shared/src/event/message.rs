//! CloudEvents on the wire: structured JSON mode written, structured and binary mode read.
//!
//! Binary mode is that of the NATS and HTTP bindings: attributes in `ce-` headers, `data` in the body.

use cloudevents::event::SpecVersion;
use cloudevents::{AttributesReader, Event};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The content type of an event in structured JSON mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

const BINARY_PREFIX: &str = "ce-";

/// An event in structured JSON mode.
pub fn to_json(event: &Event) -> Result<String> {
    serde_json::to_string(event)
        .map_err(|error| Error::bug("an event cannot be written as JSON").because(error))
}

/// Reads an event from a message's headers and body. A message with a `ce-specversion` header is in binary mode, every
/// other one in structured mode, whatever its headers: hand-written events have none.
pub fn parse(headers: &[(String, String)], body: &[u8]) -> Result<Event> {
    let binary = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("ce-specversion"));
    let event = if binary { binary_mode(headers, body)? } else { structured_mode(body)? };
    complete(&event)?;
    Ok(event)
}

fn structured_mode(body: &[u8]) -> Result<Event> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| not_an_event("it is not JSON").because(error))?;
    let Value::Object(mut fields) = value else { return Err(not_an_event("it is not a JSON object")) };
    // Attribute names are case-insensitive to the peer, lower case in the specification.
    if !fields.keys().all(|name| is_attribute_name(name)) {
        fields = fields.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    }
    from_fields(fields)
}

fn binary_mode(headers: &[(String, String)], body: &[u8]) -> Result<Event> {
    let mut fields = Map::new();
    let mut content_type = "application/json".to_owned();
    for (name, value) in headers {
        let name = name.to_lowercase();
        if name == "content-type" {
            content_type.clone_from(value);
        } else if let Some(attribute) = name.strip_prefix(BINARY_PREFIX) {
            fields.insert(attribute.to_owned(), Value::String(percent_decoded(value)));
        }
    }
    if !body.is_empty() {
        if is_json(&content_type) {
            let data = serde_json::from_slice(body)
                .map_err(|error| not_an_event("its data is not JSON").because(error))?;
            fields.insert("data".to_owned(), data);
        } else {
            let text = std::str::from_utf8(body)
                .map_err(|error| not_an_event("its data is not UTF-8").because(error))?;
            fields.insert("data".to_owned(), Value::String(text.to_owned()));
        }
    }
    fields.insert("datacontenttype".to_owned(), Value::String(content_type));
    from_fields(fields)
}

fn from_fields(mut fields: Map<String, Value>) -> Result<Event> {
    if let Some(name) = fields.keys().find(|name| !is_attribute_name(name)) {
        let shown: String = name.chars().take(64).collect();
        return Err(not_an_event("an attribute's name is not of letters and digits").because(shown));
    }
    // JSON stays as it was read: the library would build it anew.
    let content_type = fields.get("datacontenttype").unwrap_or(&Value::Null);
    let is_json = content_type.is_null() || content_type == "application/json";
    let data = if is_json && !fields.contains_key("data_base64") { fields.remove("data") } else { None };
    let mut event: Event = serde_json::from_value(Value::Object(fields))
        .map_err(|error| not_an_event("an attribute is wrong").because(error))?;
    if let Some(data) = data {
        event.set_data_unchecked(data);
    }
    Ok(event)
}

/// Required attributes are not only there but filled, as the specification asks.
fn complete(event: &Event) -> Result<()> {
    if event.specversion() != SpecVersion::V10 {
        return Err(not_an_event("its specversion is not 1.0"));
    }
    for (name, value) in [("id", event.id()), ("source", event.source().as_str()), ("type", event.ty())] {
        if value.is_empty() {
            return Err(not_an_event(&format!("its {name} is empty")));
        }
    }
    Ok(())
}

fn is_attribute_name(name: &str) -> bool {
    name == "data_base64"
        || (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || media == "text/json" || media.ends_with("+json")
}

/// Header values are percent-encoded UTF-8 (HTTP binding, section 3.1.3.2); a malformed escape stays as it is.
fn percent_decoded(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = (byte == b'%')
            .then(|| value.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(escape.unwrap_or(byte));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).unwrap_or_else(|_| value.to_owned())
}

fn not_an_event(why: &str) -> Error {
    Error::input(format!("not a CloudEvent: {why}"))
}

#[cfg(test)]
mod tests {
    use cloudevents::Data;
    use serde_json::json;

    use super::*;

    fn structured(value: &Value) -> Result<Event> {
        parse(&[], value.to_string().as_bytes())
    }

    fn sample() -> Value {
        json!({"specversion": "1.0", "type": "t", "source": "s", "id": "i", "data": {"a": 1}})
    }

    #[test]
    fn a_hand_written_event_without_headers_is_read() {
        let event = structured(&sample()).unwrap();
        assert_eq!(event.id(), "i");
        assert!(matches!(event.data(), Some(Data::Json(data)) if data["a"] == 1));
    }

    #[test]
    fn binary_mode_is_read_from_headers() {
        let headers = [
            ("Ce-Specversion", "1.0"),
            ("ce-id", "i"),
            ("ce-type", "t"),
            ("ce-source", "s"),
            ("ce-subject", "Caf%C3%A9 100%"),
            ("ce-traceparent", "00-x"),
            ("Content-Type", "application/json"),
        ];
        let headers: Vec<_> = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let event = parse(&headers, br#"{"a":1}"#).unwrap();
        assert_eq!(event.subject(), Some("Café 100%"));
        assert_eq!(event.extension("traceparent").unwrap().to_string(), "00-x");
        assert!(matches!(event.data(), Some(Data::Json(data)) if data["a"] == 1));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let event = structured(&sample()).unwrap();
        assert_eq!(parse(&[], to_json(&event).unwrap().as_bytes()).unwrap(), event);
    }

    #[test]
    fn what_is_no_event_is_refused_as_input() {
        let mut bad = vec![json!([]), json!({"name": "plain"}), json!("x")];
        for (field, value) in [
            ("id", json!("")),
            ("id", json!(7)),
            ("source", json!(null)),
            ("type", json!("")),
            ("time", json!("yesterday")),
            ("specversion", json!("0.3")),
            ("specversion", json!("9")),
            ("my_ext", json!("x")),
            ("ext", json!({"o": 1})),
            ("data_base64", json!("eA==")),
        ] {
            let mut event = sample();
            event[field] = value;
            bad.push(event);
        }
        for event in bad {
            assert_eq!(structured(&event).map(|_| ()).unwrap_err().class().exit_code(), 65, "{event}");
        }
        for body in [&b""[..], b"not json", b"\xff\xfe", b"{"] {
            assert!(parse(&[], body).is_err());
        }
    }
}
