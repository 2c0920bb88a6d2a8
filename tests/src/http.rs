//! A minimal HTTP client for requests to the dispatcher or the vendor: one request for each connection.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// Requests `http://127.0.0.1:port<path>`; fails without a complete answer within the limit.
pub fn request(
    limit: Duration,
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    // With HTTP/1.0 the answer is never chunked and ends with the connection.
    exchange("HTTP/1.0", limit, port, method, path, headers, body)
}

/// The same for a server that requires HTTP/1.1; its answer must not be chunked.
pub fn request_1_1(
    limit: Duration,
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let closing: Vec<_> = headers.iter().copied().chain([("Connection", "close")]).collect();
    exchange("HTTP/1.1", limit, port, method, path, &closing, body)
}

fn exchange(
    version: &str,
    limit: Duration,
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(limit))?;
    let mut head =
        format!("{method} {path} {version}\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    stream.write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let length = stream.read(&mut chunk)?;
        answer.extend_from_slice(&chunk[..length]);
        // Not every server closes the connection after its answer.
        if length == 0 || is_whole(&answer) {
            return parse(&String::from_utf8_lossy(&answer))
                .ok_or_else(|| io::Error::other("the answer was cut"));
        }
    }
}

/// Gets a page that must exist.
pub fn get(port: u16, path: &str) -> io::Result<Answer> {
    request(Duration::from_secs(10), port, "GET", path, &[], b"")
}

/// Whether everything has arrived that the head announces.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
    let promised = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    promised.is_some_and(|promised: usize| answer.len() >= head + 4 + promised)
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let promised: usize =
        headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(body.len());
    (body.len() >= promised).then(|| Answer { status, headers, body: body.to_owned() })
}
