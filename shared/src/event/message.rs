//! CloudEvents as messages: written in structured JSON mode, read in structured and binary mode.
//!
//! Binary mode is that of the NATS and HTTP bindings: attributes in `ce-` headers, `data` in the body. Every
//! attribute is checked here, so that an error names the attribute, its value and the rule, because the sender gets
//! nothing else.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::{DateTime, NaiveDate, Timelike, Utc};
use cloudevents::{Data, Event};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The content type of an event in structured JSON mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

const BINARY_PREFIX: &str = "ce-";
const BATCH: &str = "application/cloudevents-batch+json";
/// Before the name of the format.
const FORMATS: [&str; 2] = ["application/cloudevents+", "application/cloudevents-batch+"];
const MAX_SHOWN_CHARACTERS: usize = 64;

/// An event in structured JSON mode.
pub fn to_json(event: &Event) -> Result<String> {
    serde_json::to_string(event)
        .map_err(|error| Error::bug("an event cannot be written as JSON").because(error))
}

/// Reads an event from a message's headers and body. A message with a `ce-specversion` header is in binary mode.
/// Every other one is in structured mode, whatever its headers are, because hand-written events have none.
pub fn parse(headers: &[(String, String)], body: &[u8]) -> Result<Event> {
    let header = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    };
    let packed = header("content-encoding").filter(|packed| !packed.eq_ignore_ascii_case("identity"));
    if let Some(packed) = packed {
        return Err(not_an_event(&format!("it is compressed ({}); send it as it is", shown(packed))));
    }
    let content_type = header("content-type");
    if header("ce-specversion").is_some() {
        return binary_mode(headers, content_type.unwrap_or("application/json"), body);
    }
    structured_mode(content_type.unwrap_or_default(), body)
}

/// An RFC 3339 time in UTC, or the rule that it breaks. A leap second becomes the second before, because no database
/// stores one.
pub fn time(text: &str) -> std::result::Result<DateTime<Utc>, &'static str> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => {
            let time = time.with_timezone(&Utc);
            Ok(time.with_nanosecond(time.nanosecond() % 1_000_000_000).unwrap_or(time))
        }
        Err(_) if DateTime::parse_from_rfc3339(&format!("{text}Z")).is_ok() => {
            Err("the zone is missing, such as Z or +01:00")
        }
        Err(_) if text.parse::<NaiveDate>().is_ok() => Err("the time of day is missing"),
        Err(_) => Err("it has to be like 2026-02-27T09:15:00Z"),
    }
}

fn structured_mode(content_type: &str, body: &[u8]) -> Result<Event> {
    let media = media_type(content_type);
    let format = FORMATS.iter().find_map(|formats| media.strip_prefix(formats));
    if let Some(format) = format.filter(|format| *format != "json") {
        let format = shown(format);
        return Err(not_an_event(&format!(
            "its format is {format}; only JSON is read (application/cloudevents+json)"
        )));
    }
    let batch = media == BATCH;
    match json(body).map_err(|why| not_an_event("it is not JSON").because(why))? {
        Value::Object(mut fields) if !batch => {
            // Sveltos ignores the case of attribute names; the specification wants lower case.
            if !fields.keys().all(|name| is_attribute_name(name)) {
                fields = fields.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
            }
            let data = structured_data(&mut fields)?;
            from_fields(fields, data)
        }
        Value::Array(events) if batch || events.first().is_some_and(Value::is_object) => {
            let count = events.len();
            Err(not_an_event(&format!("it is a batch of {count}; send each event by itself")))
        }
        other => Err(not_an_event(&format!("it is {}, it has to be a JSON object", kind_of(&other)))),
    }
}

fn binary_mode(headers: &[(String, String)], content_type: &str, body: &[u8]) -> Result<Event> {
    let mut fields = Map::new();
    for (name, value) in headers {
        if let Some(attribute) = name.to_lowercase().strip_prefix(BINARY_PREFIX) {
            let earlier = fields.insert(attribute.to_owned(), Value::String(percent_decoded(value)));
            if earlier.is_some() {
                let attribute = shown(attribute);
                return Err(not_an_event(&format!("its {attribute} is given twice (ce-{attribute})")));
            }
        }
    }
    let data = if body.is_empty() {
        None
    } else if is_json(content_type) {
        let data = json(body).map_err(|why| not_an_event("its data is not JSON").because(why))?;
        Some(Data::Json(data))
    } else {
        let text = std::str::from_utf8(body);
        Some(text.map_or_else(|_| Data::Binary(body.to_vec()), |text| Data::String(text.to_owned())))
    };
    fields.insert("datacontenttype".to_owned(), Value::String(content_type.to_owned()));
    from_fields(fields, data)
}

/// Takes the data out of the fields. JSON stays as it was read, and base64 is decoded.
fn structured_data(fields: &mut Map<String, Value>) -> Result<Option<Data>> {
    let content_type = fields.get("datacontenttype").and_then(Value::as_str);
    let content_type = content_type.unwrap_or("application/json").to_owned();
    let (plain, packed) = (fields.remove("data"), fields.remove("data_base64").filter(|it| !it.is_null()));
    match (plain, packed) {
        (Some(_), Some(_)) => Err(not_an_event("it has both data and data_base64")),
        (Some(value), None) if is_json(&content_type) => Ok(Some(Data::Json(value))),
        (Some(Value::String(text)), None) => Ok(Some(Data::String(text))),
        (None | Some(Value::Null), None) => Ok(None),
        (Some(value), None) => Err(not_an_event(&format!(
            "its data is {}, but its datacontenttype {:?} is not JSON: then data has to be a text",
            kind_of(&value),
            shown(&content_type)
        ))),
        (None, Some(value)) => {
            let bytes = value.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
            let bytes = bytes.ok_or_else(|| not_an_event("its data_base64 is not base64"))?;
            let json = if is_json(&content_type) { serde_json::from_slice(&bytes).ok() } else { None };
            Ok(Some(json.map_or(Data::Binary(bytes), Data::Json)))
        }
    }
}

fn from_fields(mut fields: Map<String, Value>, data: Option<Data>) -> Result<Event> {
    fields.retain(|_, value| !value.is_null());
    for name in ["specversion", "id", "source", "type"] {
        match fields.get(name) {
            None => return Err(not_an_event(&format!("it has no {name}"))),
            Some(Value::String(text)) if text.is_empty() => {
                return Err(not_an_event(&format!("its {name} is empty")));
            }
            Some(_) => {}
        }
    }
    for (name, value) in &mut fields {
        check(name, value)?;
    }
    let mut event: Event = serde_json::from_value(Value::Object(fields))
        .map_err(|error| not_an_event("an attribute is wrong").because(error))?;
    if let Some(data) = data {
        event.set_data_unchecked(data);
    }
    Ok(event)
}

/// Checks one attribute by the rules of its type.
fn check(name: &str, value: &mut Value) -> Result<()> {
    if !is_attribute_name(name) {
        let name = shown(name);
        return Err(not_an_event(&format!("the name {name:?} of an attribute is not of letters and digits")));
    }
    let core = ["specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time"]
        .contains(&name);
    let wrong = |value: &Value, rule: &str| {
        let value = match value {
            Value::String(text) => format!("{:?}", shown(text)),
            Value::Array(_) | Value::Object(_) => kind_of(value).to_owned(),
            other => format!("{} ({})", kind_of(other), shown(&other.to_string())),
        };
        Err(not_an_event(&format!("its {name} is {value}: {rule}")))
    };
    match value {
        Value::String(text) if name == "specversion" && text != "1.0" => wrong(value, "only 1.0 is read"),
        Value::String(text) if name == "dataschema" && !is_absolute_uri(text) => {
            wrong(value, "it has to be a URI with a scheme")
        }
        Value::String(text) if name == "time" => match time(text) {
            Ok(time) => {
                // As the CloudEvents library reads it.
                *value = Value::String(time.to_rfc3339());
                Ok(())
            }
            Err(rule) => wrong(value, rule),
        },
        Value::String(_) => Ok(()),
        value if core => wrong(value, "it has to be a text"),
        Value::Bool(_) => Ok(()),
        Value::Number(number) if number.is_i64() => Ok(()),
        value => wrong(value, "an extension has to be a text, a boolean or a whole number"),
    }
}

/// Whether it begins with a URI scheme (RFC 3986, 3.1).
fn is_absolute_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let is_in_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(is_in_scheme)
        && !rest.is_empty()
}

/// The JSON value of the bytes, or why they are not JSON. Text in another encoding is recognised by its first bytes.
fn json(body: &[u8]) -> std::result::Result<Value, String> {
    match body {
        [0x1f, 0x8b, ..] => return Err("it is compressed with gzip; send it as it is".to_owned()),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err("it is compressed with zstd; send it as it is".to_owned()),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            return Err("it is UTF-16 or UTF-32; it has to be UTF-8".to_owned());
        }
        _ => {}
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("it is not UTF-8 from byte {} on", error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).or_else(|error| match mended(text) {
        Cow::Owned(text) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        Cow::Borrowed(_) => Err(error.to_string()),
    })
}

/// The text with U+FFFD for each half of a surrogate pair, as Go reads it, so that a text that was cut inside a pair
/// is still read.
fn mended(text: &str) -> Cow<'_, str> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(step) = text[at..].find('\\') {
        at += step;
        at += match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            Some(_) => 6,
            // An escape of one character, which may be a backslash.
            None => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

fn is_attribute_name(name: &str) -> bool {
    !name.is_empty()
        && (name == "data_base64" || name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

fn is_json(content_type: &str) -> bool {
    let media = media_type(content_type);
    media == "application/json" || media == "text/json" || media.ends_with("+json")
}

/// Without parameters and in lower case (RFC 9110, 8.3.1).
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARACTERS).collect()
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
    use cloudevents::{AttributesReader, Data};
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
    fn an_attribute_in_two_headers_is_named() {
        let headers =
            [("ce-specversion", "1.0"), ("ce-id", "i"), ("Ce-Id", "i"), ("ce-source", "s"), ("ce-type", "t")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let error = parse(&headers, b"").unwrap_err().to_string();
        assert!(error.contains("its id is given twice (ce-id)"), "{error}");
    }

    #[test]
    fn a_format_other_than_json_is_named() {
        for (media, format) in [
            ("application/cloudevents+xml", "xml"),
            ("Application/CloudEvents+Protobuf; charset=utf-8", "protobuf"),
            ("application/cloudevents-batch+avro", "avro"),
        ] {
            let headers = [("Content-Type".to_owned(), media.to_owned())];
            let error = parse(&headers, b"<event/>").unwrap_err().to_string();
            let said = format!("its format is {format}; only JSON is read");
            assert!(error.contains(&said), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let event = structured(&sample()).unwrap();
        assert_eq!(parse(&[], to_json(&event).unwrap().as_bytes()).unwrap(), event);
    }

    #[test]
    fn the_media_type_of_data_is_compared_without_case_parameters_or_vendor() {
        for media in
            ["Application/JSON", "APPLICATION/JSON; charset=UTF-8", "application/vnd.x+JSON", "text/json"]
        {
            let mut event = sample();
            event["datacontenttype"] = json!(media);
            let event = structured(&event).unwrap();
            assert!(matches!(event.data(), Some(Data::Json(data)) if data["a"] == 1), "{media}");
            assert_eq!(event.datacontenttype(), Some(media));
        }
        let text = json!({"specversion": "1.0", "type": "t", "source": "s", "id": "i", "datacontenttype": "text/plain",
            "data": "hello"});
        assert!(matches!(structured(&text).unwrap().data(), Some(Data::String(data)) if data == "hello"));
        let packed = json!({"specversion": "1.0", "type": "t", "source": "s", "id": "i",
            "datacontenttype": "Application/Json", "data_base64": "eyJhIjoxfQ=="});
        assert!(matches!(structured(&packed).unwrap().data(), Some(Data::Json(data)) if data["a"] == 1));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_value_and_the_rule() {
        for (name, value, said) in [
            ("id", json!(12345), "its id is a number (12345): it has to be a text"),
            ("id", json!(""), "its id is empty"),
            ("id", json!(null), "it has no id"),
            ("type", json!(["t"]), "its type is a list: it has to be a text"),
            ("source", json!(true), "its source is a boolean (true): it has to be a text"),
            ("subject", json!(7.5), "its subject is a number (7.5): it has to be a text"),
            ("specversion", json!("0.3"), "its specversion is \"0.3\": only 1.0 is read"),
            ("specversion", json!(1.0), "its specversion is a number (1.0): it has to be a text"),
            ("time", json!(1_740_647_700), "its time is a number (1740647700): it has to be a text"),
            (
                "time",
                json!("2026-02-27T09:15:00"),
                "its time is \"2026-02-27T09:15:00\": the zone is missing",
            ),
            ("time", json!("2026-02-27"), "its time is \"2026-02-27\": the time of day is missing"),
            ("time", json!("Fri, 27 Feb 2026 09:15:00 GMT"), "it has to be like 2026-02-27T09:15:00Z"),
            ("dataschema", json!("orders"), "its dataschema is \"orders\": it has to be a URI with a scheme"),
            ("datacontenttype", json!(1), "its datacontenttype is a number (1): it has to be a text"),
            (
                "datacontenttype",
                json!("text/plain"),
                "its data is an object, but its datacontenttype \"text/plain\"",
            ),
            (
                "hopcount",
                json!(1.5),
                "its hopcount is a number (1.5): an extension has to be a text, a boolean",
            ),
            ("ext", json!({"o": 1}), "its ext is an object: an extension has to be"),
            ("my_ext", json!("x"), "the name \"my_ext\" of an attribute is not of letters and digits"),
            ("data_base64", json!("eA=="), "it has both data and data_base64"),
        ] {
            let mut event = sample();
            event[name] = value;
            let error = structured(&event).unwrap_err();
            assert_eq!(error.class().exit_code(), 65);
            assert!(error.to_string().contains(said), "{error}\n{said}");
        }
        let long = "x".repeat(1000) + "\u{1b}[2J";
        let mut event = sample();
        event["time"] = json!(long);
        assert!(structured(&event).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn what_is_no_json_text_is_told_by_its_first_bytes() {
        let text = sample().to_string();
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let with_mark: Vec<u8> = [&[0xff, 0xfe][..], &utf16].concat();
        for (body, said) in [
            (&[0x1f, 0x8b, 8, 0][..], "compressed with gzip"),
            (&[0x28, 0xb5, 0x2f, 0xfd][..], "compressed with zstd"),
            (&utf16, "UTF-16"),
            (&with_mark, "UTF-16"),
            (b"{\"id\": \"caf\xe9\"}", "not UTF-8 from byte 11 on"),
            (format!("[{text},{text}]").as_bytes(), "a batch of 2; send each event by itself"),
            (b"7", "it is a number, it has to be a JSON object"),
        ] {
            let error = parse(&[], body).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let header = |name: &str, value: &str| [(name.to_owned(), value.to_owned())];
        for (headers, body, said) in [
            (header("Content-Encoding", "br"), "x", "compressed (br)"),
            (
                header("content-type", "Application/CloudEvents-Batch+JSON; charset=utf-8"),
                "[]",
                "a batch of 0",
            ),
        ] {
            let error = parse(&headers, body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let marked = format!("\u{feff}{text}");
        assert_eq!(parse(&[], marked.as_bytes()).unwrap(), structured(&sample()).unwrap());
    }

    #[test]
    fn half_of_a_surrogate_pair_is_read_as_go_reads_it() {
        let name = |escaped: &str| {
            let text = format!(
                r#"{{"specversion":"1.0","type":"t","source":"s","id":"i","data":{{"name":"{escaped}"}}}}"#
            );
            let event = parse(&[], text.as_bytes()).unwrap();
            match event.data() {
                Some(Data::Json(data)) => data["name"].as_str().unwrap().to_owned(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(name(r"Disco \ud83d"), "Disco \u{fffd}");
        assert_eq!(name(r"\uDE00 x"), "\u{fffd} x");
        assert_eq!(name(r"\ud83d\ud83d\ude00é\\ud83d"), "\u{fffd}😀é\\ud83d");
    }

    #[test]
    fn a_leap_second_is_the_second_before_it() {
        let mut event = sample();
        event["time"] = json!("2026-12-31T23:59:60.5Z");
        let event = structured(&event).unwrap();
        assert_eq!(event.time().unwrap().to_rfc3339(), "2026-12-31T23:59:59.500+00:00");
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
