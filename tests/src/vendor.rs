//! An HTTP service (swag vendor, CRM, webhook, CloudEvents sink) that records every request and misbehaves on demand.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{runtime, wait};

/// Its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// 201 with an order id, which is the same for the same `Idempotency-Key`.
    Ok,
    /// This status and a short JSON body.
    Status(u16),
    /// It never answers, and does not accept the order.
    Hang,
    /// It never answers, but accepts the order.
    AcceptThenHang,
    /// 200 with this text.
    Says(&'static str),
    /// 202 and nothing else, like a dispatcher.
    Accepted,
    /// 200 with bytes that are not JSON.
    Garbage,
    /// It accepts the order, and answers when the mode changes.
    AcceptThenWait,
    /// The beginning of an answer, then the connection ends.
    Cut,
    /// 200 with a body that never ends.
    Endless,
    /// 200 with more brackets than a parser should follow.
    Deep,
}

/// One request as received.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST`, mostly.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers by lower-case name; of a repeated one the last.
    pub headers: BTreeMap<String, String>,
    /// The body as received.
    pub body: Vec<u8>,
    /// When it came, in seconds since 1970.
    pub at: f64,
    /// The mode that answered it.
    pub mode: Mode,
}

impl Request {
    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The `Idempotency-Key` header.
    pub fn key(&self) -> Option<&str> {
        self.headers.get("idempotency-key").map(String::as_str)
    }
}

/// A running service; stopped on drop.
#[derive(Debug)]
pub struct Vendor {
    port: u16,
    record: Arc<Mutex<Record>>,
    changed: watch::Sender<()>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Record {
    mode: Mode,
    requests: Vec<Request>,
    /// The accepted orders by key: one for each key, whatever the number of requests.
    orders: BTreeMap<String, Value>,
}

impl Vendor {
    /// A service that answers [`Mode::Ok`].
    pub fn start() -> Self {
        let record = Record { mode: Mode::Ok, requests: Vec::new(), orders: BTreeMap::new() };
        let record = Arc::new(Mutex::new(record));
        let (changed, modes) = watch::channel(());
        let _context = runtime().enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        let service = Router::new().fallback(answer).with_state((Arc::clone(&record), modes));
        let server = runtime().spawn(async move {
            axum::serve(listener, service).await.expect("the vendor serves");
        });
        Self { port, record, changed, server }
    }

    /// Changes its answers from the next request on.
    pub fn set(&self, mode: Mode) {
        self.record().mode = mode;
        self.changed.send_replace(());
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:port` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.record().requests.clone()
    }

    /// How many requests have come.
    pub fn requested(&self) -> usize {
        self.record().requests.len()
    }

    /// The accepted bodies by `Idempotency-Key`: what the vendor would deliver.
    pub fn orders(&self) -> BTreeMap<String, Value> {
        self.record().orders.clone()
    }

    /// Waits until this many requests have come.
    pub fn until_requests(&self, count: usize) -> Vec<Request> {
        wait::until(wait::LIMIT, &format!("{count} requests have come"), || {
            let requests = self.requests();
            (requests.len() >= count).then_some(requests)
        })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("the record")
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State((record, mut modes)): State<(Arc<Mutex<Record>>, watch::Receiver<()>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let request = Request {
        method: method.to_string(),
        path: uri.to_string(),
        headers: headers.collect(),
        body: body.to_vec(),
        at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        mode: Mode::Ok,
    };
    modes.borrow_and_update();
    let mode = note(&record, request.clone());
    if mode == Mode::AcceptThenWait {
        // An error means that the vendor is gone, and this connection with it.
        let _ = modes.changed().await;
    }
    match mode {
        Mode::Ok | Mode::AcceptThenWait => {
            let order = request.key().map_or_else(|| "order".to_owned(), |key| format!("order-{key}"));
            (StatusCode::CREATED, axum::Json(json!({ "id": order, "order_id": order }))).into_response()
        }
        Mode::Status(code) => {
            let status = StatusCode::from_u16(code).expect("a status code");
            (status, axum::Json(json!({ "error": format!("the vendor says {code}") }))).into_response()
        }
        Mode::Says(words) => (StatusCode::OK, words).into_response(),
        Mode::Accepted => StatusCode::ACCEPTED.into_response(),
        Mode::Hang | Mode::AcceptThenHang => std::future::pending().await,
        Mode::Garbage => (StatusCode::OK, &b"\xff\x00<html>{\"id\": "[..]).into_response(),
        Mode::Cut => cut(),
        Mode::Endless => {
            let piece = Ok::<_, Infallible>(Bytes::from(vec![b'x'; 16 << 10]));
            Body::from_stream(futures_util::stream::repeat_with(move || piece.clone())).into_response()
        }
        Mode::Deep => (StatusCode::OK, "[".repeat(60_000)).into_response(),
    }
}

fn note(record: &Mutex<Record>, mut request: Request) -> Mode {
    let mut record = record.lock().expect("the record");
    request.mode = record.mode;
    if matches!(record.mode, Mode::Ok | Mode::AcceptThenHang | Mode::AcceptThenWait)
        && let Some(key) = request.key()
    {
        record.orders.entry(key.to_owned()).or_insert_with(|| request.json());
    }
    record.requests.push(request);
    record.mode
}

/// Announces more bytes than it sends.
fn cut() -> Response {
    let body = Body::from_stream(Broken(false));
    ([("content-length", "500"), ("content-type", "application/json")], body).into_response()
}

/// Sends some bytes, then an error, which ends the connection.
struct Broken(bool);

impl futures_core::Stream for Broken {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let first = !std::mem::replace(&mut self.0, true);
        let piece =
            if first { Ok(Bytes::from_static(b"{\"id\": \"ord")) } else { Err(std::io::Error::other("cut")) };
        std::task::Poll::Ready(Some(piece))
    }
}
