//! A dispatcher with many slow clients of every kind.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::http;

use crate::Size;
use crate::measure::milliseconds;
use crate::memory::memory_of;
use crate::report::{Figure, Goal};
use crate::stage::{Dispatcher, Stage, stamped};

/// Clients of one kind at once.
const CLIENTS: usize = 1_000;

/// A setting of the dispatcher that must stay secret.
const TOKEN: &str = "events-token-of-the-benchmark";

/// The kinds of clients, and what each sends before it falls silent.
const KINDS: [(&str, &str); 10] = [
    ("nothing", ""),
    ("half a head", "GET / HTTP/1.1\r\nHost: HOST\r\nX-Much: "),
    ("a head of 30 kB", "GET / HTTP/1.1\r\nHost: HOST\r\nX-Much: MUCH"),
    ("idle after an answer", "GET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    (
        "a body without its end",
        "POST /events HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer TOKEN\r\nContent-Length: 120000\r\n\r\nMUCHMUCHMUCH",
    ),
    (
        "a body without a length",
        "POST /events HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer TOKEN\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "a wrong token",
        "POST /events HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer wrong\r\nContent-Length: 100\r\n\r\n",
    ),
    (
        "a login without its end",
        "POST /login HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ntoken=",
    ),
    ("live pages", "GET / HTTP/1.1\r\nHost: HOST\r\nAccept: text/event-stream\r\n\r\n"),
    ("answers that nobody reads", "PAGES"),
];

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    // Both ends of the connections are in this process.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })
        .expect("as many files as there may be");
    let stage = Stage::start();
    let dispatcher = stage.dispatcher_with_tokens("state", TOKEN);
    let clients = size.pick(CLIENTS / 10, CLIENTS);
    let mut figures = Vec::new();
    for (number, (kind, sent)) in KINDS.into_iter().enumerate() {
        let held = connect(&dispatcher, sent, clients);
        let slowest = (0..10).map(|_| milliseconds(health(&dispatcher))).fold(0.0, f64::max);
        let stamp = stage.scratch.join(&format!("stamp-{number}"));
        let before = stage.publish("user-saved", &stamp);
        let started = Duration::from_nanos(u64::try_from(stamped(&stamp) - before).unwrap_or(u64::MAX));
        drop(held);
        let figure =
            |what: &str, value| Figure::new(format!("{clients} clients, {kind}: {what}"), "ms", value);
        figures.push(figure("slowest of ten /healthz", slowest).goal(Goal::AtMost(1_000.0)));
        figures.push(figure("event to Job", milliseconds(started)).goal(Goal::AtMost(1_000.0)));
    }
    let peak = memory_of(dispatcher.running.process.id(), "VmHWM:");
    figures.push(Figure::new("most memory with all of them", "MB", peak).goal(Goal::AtMost(100.0)));
    figures
}

/// As many as the machine allows. Connections that the dispatcher closes stay closed.
fn connect(dispatcher: &Dispatcher, sent: &str, clients: usize) -> Vec<TcpStream> {
    let host = format!("127.0.0.1:{}", dispatcher.port);
    let page = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let sent = sent.replace("PAGES", &page.repeat(200)).replace("MUCH", &"x".repeat(30_000));
    let sent = sent.replace("HOST", &host).replace("TOKEN", TOKEN);
    let open = |_| {
        let mut stream = TcpStream::connect(&host).ok()?;
        stream.set_nonblocking(true).ok()?;
        let _whole = stream.write(sent.as_bytes());
        Some(stream)
    };
    (0..clients).filter_map(open).collect()
}

/// How long an answer takes.
fn health(dispatcher: &Dispatcher) -> Duration {
    let asked = Instant::now();
    let answer = http::request(Duration::from_secs(20), dispatcher.port, "GET", "/healthz", &[], b"");
    assert_eq!(answer.expect("an answer").status, 200);
    asked.elapsed()
}
