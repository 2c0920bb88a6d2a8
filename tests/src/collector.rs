//! An OTLP receiver over HTTP: decodes the protobuf that it gets, keeps the spans, and is away or silent on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use prost::Message;
use tokio::task::JoinHandle;

use crate::{port, runtime};

/// One span as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// 32 hex digits.
    pub trace: String,
    /// 16 hex digits.
    pub id: String,
    /// 16 hex digits, or empty for a root.
    pub parent: String,
    /// What happened.
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
    /// The attributes of what it came from.
    pub resource: BTreeMap<String, String>,
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It takes what it gets.
    Ok,
    /// This status.
    Status(u16),
    /// Nothing, ever.
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
    /// One that takes what it gets.
    pub fn start() -> Self {
        let mut collector = Self::away();
        collector.come();
        collector
    }

    /// One that is not there yet: its port refuses connections.
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

    /// Changes what it answers from the next request on.
    pub fn set(&self, mode: Mode) {
        self.record().mode = mode;
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every span that was taken, in the order of arrival.
    pub fn spans(&self) -> Vec<Span> {
        self.record().spans.clone()
    }

    /// How often somebody came.
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
            let Ok(request) = ExportTraceServiceRequest::decode(body) else {
                return StatusCode::BAD_REQUEST.into_response();
            };
            record.lock().expect("the record").spans.extend(spans(request));
            let answer = ExportTraceServiceResponse::default().encode_to_vec();
            ([(header::CONTENT_TYPE, "application/x-protobuf")], answer).into_response()
        }
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut found = Vec::new();
    for group in request.resource_spans {
        let resource = attributes(group.resource.unwrap_or_default().attributes);
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            found.push(Span {
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                from: span.start_time_unix_nano,
                to: span.end_time_unix_nano,
                attributes: attributes(span.attributes),
                events: span
                    .events
                    .into_iter()
                    .map(|event| (event.name, attributes(event.attributes)))
                    .collect(),
                failed: span.status.is_some_and(|status| status.code == 2),
                resource: resource.clone(),
            });
        }
    }
    found
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Any>| match value {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    pairs.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}
