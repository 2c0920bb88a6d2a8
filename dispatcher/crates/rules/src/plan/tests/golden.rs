//! Events as the Go SDK of Sveltos writes them again (outputs of the real library).

use super::*;

/// Parses and compares the view; the order of keys does not matter.
fn seen(input: &str) -> Result<Value, String> {
    IncomingEvent::parse("s", &[], input.as_bytes())
        .map(|event| event.view().clone())
        .map_err(|error| error.to_string())
}

fn same(input: &str, output: &str) {
    assert_eq!(seen(input).unwrap(), serde_json::from_str::<Value>(output).unwrap(), "{input}");
}

#[test]
fn an_event_is_seen_as_the_go_sdk_writes_it() {
    for input in [
        r#"{"specversion":"1.0","id":"i1","source":"knapscen.disco","type":"t","subject":"s-1","datacontenttype":"application/json","time":"2025-10-04T12:00:00Z","data":{"a":1}}"#,
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","datacontenttype":"application/json; charset=utf-8","data":{"a":1}}"#,
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","datacontenttype":"application/json","data":"{\"a\":1}"}"#,
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","datacontenttype":"application/json"}"#,
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","datacontenttype":"application/json","data":null}"#,
    ] {
        same(input, input);
    }
}

#[test]
fn an_empty_subject_is_no_subject() {
    same(
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","subject":"","datacontenttype":"application/json","data":{}}"#,
        r#"{"specversion":"1.0","id":"i","source":"s","type":"t","datacontenttype":"application/json","data":{}}"#,
    );
}

#[test]
fn time_is_in_utc_and_extension_names_are_lower_case() {
    same(
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","time":"2025-10-04T14:00:00.120+02:00","datacontenttype":"application/json","TraceID":"abc","num":7,"data":{"big":12345678901234567890}}"#,
        r#"{"specversion":"1.0","id":"i","source":"s","type":"t","datacontenttype":"application/json","time":"2025-10-04T12:00:00.12Z","data":{"big":12345678901234567890},"traceid":"abc","num":7}"#,
    );
}

#[test]
fn a_space_in_the_source_is_percent_encoded() {
    let seen = seen(r#"{"specversion":"1.0","type":"t","source":"has space","id":"i","data":{}}"#).unwrap();
    assert_eq!(seen["source"], "has%20space");
}

#[test]
fn an_event_without_datacontenttype_is_json() {
    let seen = seen(r#"{"specversion":"1.0","type":"t","source":"s","id":"i","data":{"a":1}}"#).unwrap();
    assert_eq!(seen["data"]["a"], 1);
}

#[test]
fn binary_mode_is_read_from_headers() {
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-type", "t"),
        ("ce-source", "s"),
        ("ce-id", "i"),
        ("Ce-Subject", "s%201"),
        ("ce-hopcount", "3"),
    ];
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let event = IncomingEvent::parse("x", &headers, br#"{"a":1}"#).unwrap();
    assert_eq!((event.subject(), event.hop_count()), ("s 1", 3));
    assert_eq!(event.view()["data"]["a"], 1);
}

#[test]
fn json_in_base64_is_data_and_other_bytes_stay_base64() {
    let json = seen(
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","datacontenttype":"application/json","data_base64":"eyJhIjoxfQ=="}"#,
    );
    assert_eq!(json.unwrap()["data"]["a"], 1);
    let bytes = seen(
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","datacontenttype":"image/png","data_base64":"/9g="}"#,
    );
    assert_eq!(bytes.unwrap()["data_base64"], "/9g=");
}

#[test]
fn what_breaks_the_specification_is_a_clear_error() {
    for input in [
        r#"{"type":"t","source":"s","id":"i","data":{}}"#,
        r#"{"specversion":"1.0","data":{}}"#,
        r#"{"specversion":"1.0","type":"t","source":"s","id":"","data":{}}"#,
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","time":"yesterday","data":{}}"#,
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","my_ext":"x","data":{}}"#,
        r#"{"specversion":"1.0","type":"t","source":"s","id":"i","ext":{"o":1},"data":{}}"#,
        r#"{"name":"plain json"}"#,
        "not json",
        "",
        "[]",
    ] {
        let error = IncomingEvent::parse("s", &[], input.as_bytes()).unwrap_err();
        assert_eq!(error.stage, crate::plan::Stage::Event, "{input}");
        assert!(error.to_string().starts_with("not a CloudEvent: "), "{error}");
    }
}
