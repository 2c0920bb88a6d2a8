//! An OTLP receiver over HTTP: decodes the protobuf that it gets, keeps the spans, and is away or silent on demand.
//!
//! Decodes by the field numbers of opentelemetry/proto/…/v1, not with the product's encoder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::task::JoinHandle;

use crate::wire::{Field, message};
use crate::{port, runtime};

/// One span as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// 32 hex digits.
    pub trace: String,
    /// 16 hex digits.
    pub id: String,
    /// 16 hex digits, or empty for a root.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub from: u64,
    /// Nanoseconds since 1970.
    pub to: u64,
    /// Its attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// Its events: name and attributes.
    pub events: Vec<(String, BTreeMap<String, String>)>,
    /// Whether its status is an error.
    pub failed: bool,
    /// The attributes of its resource.
    pub resource: BTreeMap<String, String>,
}

/// Its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It accepts everything.
    Ok,
    /// This status.
    Status(u16),
    /// It never answers.
    Hang,
}

#[derive(Debug)]
struct Record {
    mode: Mode,
    requests: usize,
    headers: HeaderMap,
    spans: Vec<Span>,
}

/// A receiver; stopped on drop.
#[derive(Debug)]
pub struct Collector {
    port: u16,
    record: Arc<Mutex<Record>>,
    server: Option<JoinHandle<()>>,
}

impl Collector {
    /// A receiver that accepts everything.
    pub fn start() -> Self {
        let mut collector = Self::away();
        collector.come();
        collector
    }

    /// A receiver that is not running yet: its port refuses connections.
    pub fn away() -> Self {
        let record = Record { mode: Mode::Ok, requests: 0, headers: HeaderMap::new(), spans: Vec::new() };
        Self { port: port::free(), record: Arc::new(Mutex::new(record)), server: None }
    }

    /// Opens its port.
    pub fn come(&mut self) {
        let _context = runtime().enter();
        let listener = std::net::TcpListener::bind(("127.0.0.1", self.port)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        let service = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&self.record));
        self.server = Some(runtime().spawn(async move {
            axum::serve(listener, service).await.expect("the collector serves");
        }));
    }

    /// Changes its answers from the next request on.
    pub fn set(&self, mode: Mode) {
        self.record().mode = mode;
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every accepted span, in the order of arrival.
    pub fn spans(&self) -> Vec<Span> {
        self.record().spans.clone()
    }

    /// The number of requests.
    pub fn requests(&self) -> usize {
        self.record().requests
    }

    /// A header of the last request.
    pub fn header(&self, name: &str) -> Option<String> {
        self.record().headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("the record")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

async fn take(State(record): State<Arc<Mutex<Record>>>, headers: HeaderMap, body: Bytes) -> Response {
    let mode = {
        let mut record = record.lock().expect("the record");
        record.requests += 1;
        record.headers.clone_from(&headers);
        record.mode
    };
    match mode {
        Mode::Hang => std::future::pending().await,
        Mode::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Mode::Ok => {
            if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != "application/x-protobuf") {
                return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
            }
            let Some(spans) = spans(&body) else { return StatusCode::BAD_REQUEST.into_response() };
            record.lock().expect("the record").spans.extend(spans);
            // An empty answer: everything was accepted.
            ([(header::CONTENT_TYPE, "application/x-protobuf")], Vec::new()).into_response()
        }
    }
}

/// `ExportTraceServiceRequest`.
fn spans(request: &[u8]) -> Option<Vec<Span>> {
    let mut found = Vec::new();
    for group in all(request, 1)? {
        let resource = match all(group, 1)?.first() {
            Some(resource) => attributes(resource, 1)?,
            None => BTreeMap::new(),
        };
        for scope in all(group, 2)? {
            for one in all(scope, 2)? {
                found.push(span(one, &resource)?);
            }
        }
    }
    Some(found)
}

fn span(bytes: &[u8], resource: &BTreeMap<String, String>) -> Option<Span> {
    let fields = message(bytes)?;
    let last =
        |wanted: u64| fields.iter().rev().find(|(number, _)| *number == wanted).map(|(_, field)| *field);
    let id = |wanted: u64| last(wanted).map(|field| hex(field.bytes())).unwrap_or_default();
    let mut events = Vec::new();
    for event in all(bytes, 11)? {
        let name = message(event)?.into_iter().find(|(number, _)| *number == 2)?.1.text();
        events.push((name, attributes(event, 3)?));
    }
    let status = last(15).map(|status| message(status.bytes()));
    let code = status.flatten().and_then(|status| status.into_iter().find(|(number, _)| *number == 3));
    Some(Span {
        trace: id(1),
        id: id(2),
        parent: id(4),
        name: last(5)?.text(),
        from: last(7)?.number(),
        to: last(8)?.number(),
        attributes: attributes(bytes, 9)?,
        events,
        failed: code.is_some_and(|(_, code)| code.number() == 2),
        resource: resource.clone(),
    })
}

/// Every value of a repeated field of messages.
fn all(bytes: &[u8], wanted: u64) -> Option<Vec<&[u8]>> {
    let fields = message(bytes)?.into_iter().filter(|(number, _)| *number == wanted);
    Some(fields.map(|(_, field)| field.bytes()).collect())
}

/// `KeyValue`, whose `AnyValue` is a text, a flag or a whole number.
fn attributes(bytes: &[u8], number: u64) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for pair in all(bytes, number)? {
        let (mut key, mut value) = (String::new(), String::new());
        for (number, field) in message(pair)? {
            match number {
                1 => key = field.text(),
                2 => value = any(field)?,
                other => panic!("a KeyValue has no field {other}"),
            }
        }
        found.insert(key, value);
    }
    Some(found)
}

fn any(value: Field<'_>) -> Option<String> {
    Some(match message(value.bytes())?.first()? {
        (1, text) => text.text(),
        (2, flag) => (flag.number() != 0).to_string(),
        (3, number) => number.number().cast_signed().to_string(),
        (other, _) => panic!("an AnyValue of kind {other}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}
