//! Messages that break the connection. The client library ends the connection over headers that it cannot parse, and
//! the server sends the message again on the next one, so the subject would never go on. Such messages are found in
//! the stream by their bytes, copied to the dead letters and acknowledged.

use async_nats::StatusCode;
use async_nats::header::HeaderName;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::{Api, CONSUMER_NOT_FOUND, Raw};
use super::dead_letters::store;
use super::stream::Wanted;
use crate::Result;
use crate::dead_letter::{Letter, RAW_HEADERS};
use job::FailureClass;

/// Looks at messages that were delivered and not acknowledged, and moves unreadable ones to the dead letters of
/// `letters`.
pub(super) async fn search(
    api: &Api,
    stream: &Wanted,
    letters: &Wanted,
    consumer: &str,
    subject: &str,
) -> Result<()> {
    let info = match api.call(&format!("CONSUMER.INFO.{}.{consumer}", stream.name), &Value::Null).await? {
        Ok(info) => info,
        Err(refusal) if refusal.err_code == CONSUMER_NOT_FOUND => return Ok(()),
        Err(refusal) => return Err(refusal.error(&format!("information on consumer {consumer}"))),
    };
    if info["num_ack_pending"] == 0 {
        return Ok(());
    }
    let last = info["delivered"]["stream_seq"].as_u64().unwrap_or(0);
    let mut next = info["ack_floor"]["stream_seq"].as_u64().unwrap_or(0) + 1;
    while next <= last {
        let Some(raw) = api.stored(&stream.name, &json!({"seq": next, "next_by_subj": subject})).await?
        else {
            break;
        };
        next = raw.sequence + 1;
        if let Some(problem) = problem(&raw.headers).filter(|_| raw.sequence <= last) {
            tracing::warn!("message {} on {subject} goes to the dead letters: {problem}", raw.sequence);
            // "$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>": the server
            // only reads the sequence.
            let reply = format!("$JS.ACK.{}.{consumer}.1.{}.1.0.0", stream.name, raw.sequence);
            store(api, letters, letter(raw, problem)).await?;
            api.answer(&reply, Bytes::from_static(b"+TERM")).await?;
        }
    }
    Ok(())
}

/// Why the client library cannot read a block of headers; `None` if it can.
fn problem(block: &[u8]) -> Option<&'static str> {
    if block.is_empty() {
        return None;
    }
    let Ok(text) = std::str::from_utf8(block) else { return Some("its headers are not UTF-8") };
    let mut lines = text.lines();
    let Some(version) = lines.next().and_then(|line| line.strip_prefix("NATS/1.0")) else {
        return Some("its headers do not begin with NATS/1.0");
    };
    let status = version.trim().split(' ').next().unwrap_or_default();
    if !status.is_empty() && status.parse::<StatusCode>().is_err() {
        return Some("the first line of its headers has a malformed status");
    }
    let mut continued = false;
    for line in lines.filter(|line| !line.is_empty()) {
        if continued && line.starts_with(char::is_whitespace) {
            continue;
        }
        let Some((name, _)) = line.split_once(':') else { return Some("a header has no colon") };
        if name.parse::<HeaderName>().is_err() {
            return Some("a header's name is not visible ASCII");
        }
        continued = true;
    }
    None
}

fn letter(raw: Raw, problem: &str) -> Letter {
    let published = raw.time.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let identity = format!("dead-letter\n{}\n{}\n{published}", raw.subject, raw.sequence);
    let headers = [
        ("Dead-Letter-Reason", problem.to_owned()),
        ("Dead-Letter-Class", FailureClass::UnreadableHeaders.to_string()),
        ("Dead-Letter-Subject", raw.subject.clone()),
        ("Dead-Letter-Sequence", raw.sequence.to_string()),
        ("Dead-Letter-Attempts", "1".to_owned()),
        ("Dead-Letter-Published", published),
        ("Dead-Letter-Failed", Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true)),
        (RAW_HEADERS, STANDARD.encode(&raw.headers)),
    ];
    Letter {
        id: Uuid::new_v5(&Uuid::NAMESPACE_URL, identity.as_bytes()).to_string(),
        subject: raw.subject,
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        payload: raw.payload,
    }
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn what_the_client_cannot_parse_is_found() {
        for (block, readable) in [
            (&b""[..], true),
            (b"NATS/1.0\r\nA: b\r\n\r\n", true),
            (b"NATS/1.0 503 gone\r\n\r\n", true),
            (b"NATS/1.0\r\nA: b\r\n  more\r\n\r\n", true),
            (b"NATS/1.0 abc\r\n\r\n", false),
            (b"NATS/1.0\r\nmy header: b\r\n\r\n", false),
            (b"NATS/1.0\r\nno colon\r\n\r\n", false),
            (b"NATS/1.0\r\nA: \xff\r\n\r\n", false),
            (b"HTTP/1.0\r\n\r\n", false),
        ] {
            assert_eq!(problem(block).is_none(), readable, "{:?}", String::from_utf8_lossy(block));
        }
    }
}
