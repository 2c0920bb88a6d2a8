//! The connections: a share of the files that this process may open, and time limits for clients.
//!
//! A slow client gives way. When all connections are in use, the one that has waited longest for its client ends, of
//! the address with most connections. If all of them are working, one that has had an answer ends after its next
//! answer.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::http::Extensions;
use http_body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tower::ServiceExt;

use super::page_slots::PageSlot;
use job::stop::Stop;

/// One in this many of the files that this process may open is for a connection; Jobs, bus and history need the
/// others.
const SHARE: u64 = 4;
/// The most connections at the same time; each holds up to [`HEAD_BYTES`].
const MOST: usize = 512;
const LEAST: usize = 16;

/// The largest head of a request.
const HEAD_BYTES: usize = 32 << 10;

/// How long a head may take, and how long a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a client may take to read an answer.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// How long a new connection waits for a place, and how often another connection is asked to end for it.
const PLACE_WITHIN: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_millis(20);

const LOOK_EVERY: Duration = Duration::from_secs(5);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// One connection, as the handlers of its request see it.
#[derive(Debug)]
pub(super) struct Connection {
    from: IpAddr,
    /// Since when it waits for its client; `None` while we work on its request.
    waits: Mutex<Option<Instant>>,
    /// What its request holds until the next request.
    page_slot: Mutex<Option<PageSlot>>,
    closed: Notify,
    /// How many answers it has sent.
    answers: AtomicU64,
    /// Notified when it must end after the present answer.
    ends: Notify,
    is_ending: AtomicBool,
}

impl Connection {
    /// The address of its client, or of the proxy before it.
    pub(super) const fn from(&self) -> IpAddr {
        self.from
    }

    /// Marks that it waits for its client.
    pub(super) fn waits(&self) {
        *self.waiting() = Some(Instant::now());
    }

    /// Marks that we work on its request.
    pub(super) fn works(&self) {
        *self.waiting() = None;
    }

    /// Holds the place until this connection ends or makes another request.
    pub(super) fn keep(&self, page_slot: Option<PageSlot>) {
        *self.page_slot.lock() = page_slot;
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Instant>> {
        self.waits.lock()
    }
}

/// The connection of a request.
pub(super) fn of(extensions: &Extensions) -> Option<Arc<Connection>> {
    extensions.get::<Arc<Connection>>().cloned()
}

/// All open connections.
#[derive(Debug, Default)]
struct Open {
    most: usize,
    next: u64,
    all: BTreeMap<u64, Arc<Connection>>,
}

type Shared = Arc<Mutex<Open>>;

/// The entry of an open connection, until dropped.
struct Among {
    open: Shared,
    number: u64,
    connection: Arc<Connection>,
}

impl Open {
    /// Makes room for one more, if another connection can be ended for it.
    fn has_room(&mut self) -> bool {
        if self.all.len() < self.most {
            return true;
        }
        let waiting: Vec<_> = self
            .all
            .iter()
            .filter_map(|(number, one)| Some((one.from, (*one.waiting())?, *number)))
            .collect();
        let mut of_address = BTreeMap::new();
        for (from, ..) in &waiting {
            *of_address.entry(*from).or_insert(0_usize) += 1;
        }
        let longest =
            waiting.iter().max_by_key(|(from, since, _)| (of_address.get(from).copied(), Reverse(*since)));
        let Some((_, _, number)) = longest else { return false };
        self.close(*number);
        true
    }

    /// Asks a connection to end that has had an answer and makes further requests; a client may send many requests
    /// before it reads.
    fn ask_one(&self) {
        let served = |one: &&Arc<Connection>| {
            one.answers.load(Ordering::Relaxed) > 0 && !one.is_ending.load(Ordering::Relaxed)
        };
        let most = self.all.values().filter(served).max_by_key(|one| one.answers.load(Ordering::Relaxed));
        if let Some(one) = most {
            one.is_ending.store(true, Ordering::Relaxed);
            one.ends.notify_one();
        }
    }

    fn close(&mut self, number: u64) {
        if let Some(connection) = self.all.remove(&number) {
            connection.closed.notify_one();
        }
    }

    /// Ends connections that have waited too long for their client.
    fn tidy(&mut self) {
        let late = |one: &Connection| one.waiting().is_some_and(|since| since.elapsed() > READ_WITHIN);
        let late: Vec<_> = self.all.iter().filter(|(_, one)| late(one)).map(|(number, _)| *number).collect();
        for number in late {
            self.close(number);
        }
    }
}

fn locked(open: &Shared) -> MutexGuard<'_, Open> {
    open.lock()
}

impl Among {
    fn take(open: &Shared, from: IpAddr) -> Option<Self> {
        let mut all = locked(open);
        if !all.has_room() {
            return None;
        }
        let waits = Mutex::new(Some(Instant::now()));
        let connection = Arc::new(Connection {
            from,
            waits,
            page_slot: Mutex::default(),
            closed: Notify::new(),
            answers: AtomicU64::new(0),
            ends: Notify::new(),
            is_ending: AtomicBool::new(false),
        });
        let number = all.next;
        all.next += 1;
        all.all.insert(number, Arc::clone(&connection));
        Some(Self { open: Arc::clone(open), number, connection })
    }
}

impl Drop for Among {
    fn drop(&mut self) {
        locked(&self.open).all.remove(&self.number);
    }
}

/// Serves until it is told to stop, and then until the present requests are answered.
pub async fn serve(listener: TcpListener, router: Router, stop: Stop) {
    serve_at_most(most(), listener, router, stop).await;
}

pub(super) async fn serve_at_most(most: usize, listener: TcpListener, router: Router, stop: Stop) {
    let open: Shared = Arc::new(Mutex::new(Open { most, ..Open::default() }));
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    if let Some(among) = admit(&open, from.ip(), &mut tasks).await {
                        drop(stream.set_nodelay(true));
                        tasks.spawn(one(stream, from, among, router.clone(), stop.clone()));
                    }
                }
                Err(error) => {
                    tracing::debug!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            },
            _ = look.tick() => locked(&open).tidy(),
            Some(_) = tasks.join_next() => {}
            () = stop.ending() => break,
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Waits briefly for a place, because working connections are soon done.
async fn admit(open: &Shared, from: IpAddr, tasks: &mut tokio::task::JoinSet<()>) -> Option<Among> {
    let last = Instant::now() + PLACE_WITHIN;
    while Instant::now() < last {
        let among = Among::take(open, from);
        if among.is_some() {
            return among;
        }
        locked(open).ask_one();
        let _ended = tokio::time::timeout(ASK_EVERY, tasks.join_next()).await;
    }
    None
}

fn most() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / SHARE).unwrap_or(MOST).clamp(LEAST, MOST)
}

/// Serves one connection over any stream of bytes.
pub async fn serve_one<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    from: SocketAddr,
    router: Router,
    stop: Stop,
) {
    let open: Shared = Arc::new(Mutex::new(Open { most: 1, ..Open::default() }));
    if let Some(among) = Among::take(&open, from.ip()) {
        one(stream, from, among, router, stop).await;
    }
}

async fn one<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    from: SocketAddr,
    among: Among,
    router: Router,
    stop: Stop,
) {
    let connection = Arc::clone(&among.connection);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (router, connection) = (router.clone(), Arc::clone(&connection));
        async move {
            connection.works();
            connection.keep(None);
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(from));
            request.extensions_mut().insert(Arc::clone(&connection));
            let answer = router.oneshot(request).await;
            connection.answers.fetch_add(1, Ordering::Relaxed);
            connection.waits();
            answer.map(|answer| answer.map(|body| Told { body, connection }))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let mut ends = false;
    loop {
        tokio::select! {
            _ = served.as_mut() => return, // a broken connection is the client's problem
            () = among.connection.closed.notified() => return,
            () = among.connection.ends.notified() => served.as_mut().graceful_shutdown(),
            () = stop.ending(), if !ends => {
                ends = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The body of an answer, which tells whether it waits for us or for its reader.
struct Told {
    body: Body,
    connection: Arc<Connection>,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match polled {
            Poll::Pending => self.connection.works(),
            Poll::Ready(_) => self.connection.waits(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(most: usize) -> Shared {
        Arc::new(Mutex::new(Open { most, ..Open::default() }))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn the_one_that_waits_longest_gives_way_of_the_address_that_has_most() {
        let open = open(3);
        let first = Among::take(&open, address(1)).unwrap();
        let many: Vec<_> = (0..2).map(|_| Among::take(&open, address(2)).unwrap()).collect();
        let more = Among::take(&open, address(3)).unwrap();
        let numbers: Vec<_> = locked(&open).all.keys().copied().collect();
        assert_eq!(numbers, [first.number, many[1].number, more.number]);
    }

    #[test]
    fn nobody_who_is_served_is_sent_away() {
        let open = open(2);
        let busy: Vec<_> = (0..2).map(|_| Among::take(&open, address(1)).unwrap()).collect();
        for among in &busy {
            among.connection.works();
        }
        assert!(Among::take(&open, address(2)).is_none());
        drop(busy);
        assert!(Among::take(&open, address(2)).is_some());
    }
}
