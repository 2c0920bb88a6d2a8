//! A TCP proxy that simulates a broken network, and stops a client at a chosen byte of its conversation.
//!
//! A worker that reaches its servers through a proxy can be held just before it sends `COMMIT`, or just after the
//! server has carried it out, without any hook in the worker. Every mode counts how often it had an effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{block_on, runtime, wait};

/// What happens to connections. A change ends no connection, except [`Mode::Refuse`], which ends all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Passed on.
    Pass,
    /// Closed at once, including open ones.
    Refuse,
    /// Accepted, and then nothing is passed on.
    Silent,
    /// Passed on, every piece with this delay.
    Delay(Duration),
    /// The server's bytes are replaced by as many meaningless ones.
    Garbage,
    /// This many bytes from the server are passed on, then the connection ends.
    Cut(usize),
    /// Passed on until the client sends these bytes: neither they nor anything after them reaches the server.
    HoldBefore(&'static str),
    /// Passed on until the client has sent these bytes: the server gets them, and its answer is not passed back.
    HoldAfter(&'static str),
}

/// How often the mode had an effect.
type Met = Arc<AtomicUsize>;

/// The state that connections check.
#[derive(Debug, Clone)]
struct State {
    mode: Mode,
    /// How often all connections were ended, because a short mode may not be noticed otherwise.
    cuts: usize,
}

/// A proxy before one server; stopped on drop.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    met: Met,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// A proxy on a port of its own before `127.0.0.1:port`.
    pub fn before(port: u16) -> Self {
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let (state, states) = watch::channel(State { mode: Mode::Pass, cuts: 0 });
        let met = Met::default();
        let acceptor = runtime().spawn(accept(listener, port, states, Arc::clone(&met)));
        Self { port: own, state, met, acceptor }
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what happens from now on. A hold applies to later connections.
    pub fn set(&self, mode: Mode) {
        self.met.store(0, Ordering::Relaxed);
        self.state.send_modify(|state| {
            state.cuts += usize::from(mode == Mode::Refuse);
            state.mode = mode;
        });
    }

    /// Whether the mode had an effect: a client is at the hold point, was refused, or got garbage.
    pub fn reached(&self) -> bool {
        self.met.load(Ordering::Relaxed) > 0
    }

    /// Waits until a client is at the hold point.
    pub fn until_reached(&self) {
        wait::until_true("a client stands at the hold point", || self.reached());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Mode::Refuse);
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, states: watch::Receiver<State>, met: Met) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(connection(client, port, states.clone(), Arc::clone(&met)));
    }
}

async fn connection(client: TcpStream, port: u16, mut states: watch::Receiver<State>, met: Met) {
    let _ = client.set_nodelay(true);
    let State { mode, cuts } = states.borrow_and_update().clone();
    let refused = async {
        // An error means that the proxy is gone, which also refuses.
        let _ = states.wait_for(|state| state.cuts != cuts).await;
    };
    match mode {
        Mode::Refuse => note(&met),
        Mode::Silent => {
            note(&met);
            refused.await;
        }
        _ => {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let _ = server.set_nodelay(true);
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let (held, watched) = watch::channel(false);
            let up = upwards(from_client, to_server, mode.clone(), held, Arc::clone(&met));
            let down = downwards(from_server, to_client, mode, watched, met);
            tokio::select! {
                () = refused => {}
                ((), ()) = async { tokio::join!(up, down) } => {}
            }
        }
    }
}

fn note(met: &Met) {
    met.fetch_add(1, Ordering::Relaxed);
}

/// From client to server, until the bytes of a hold have come.
async fn upwards(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    mode: Mode,
    held: watch::Sender<bool>,
    met: Met,
) {
    // How many messages, starting with the needle, are passed on.
    let (needle, mut left) = match mode {
        Mode::HoldBefore(needle) => (needle.as_bytes(), 0),
        Mode::HoldAfter(needle) => (needle.as_bytes(), 1),
        _ => (&b""[..], 0),
    };
    let mut found = false;
    let mut seen = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = client.read(&mut piece).await {
        if let Mode::Delay(time) = mode {
            note(&met);
            tokio::time::sleep(time).await;
        }
        if !needle.is_empty() && !*held.borrow() {
            seen.extend_from_slice(&piece[..length]);
            found |= seen.windows(needle.len()).any(|window| window == needle);
            // Of earlier bytes, only a beginning of the needle matters.
            let kept = seen.len().saturating_sub(needle.len());
            seen.drain(..kept);
            if found && left == 0 {
                held.send_replace(true);
                note(&met);
                // Both sides stay open, and nothing more is read.
                return std::future::pending().await;
            }
            left -= usize::from(found);
            held.send_replace(found && left == 0);
        }
        if server.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
    if *held.borrow() {
        return std::future::pending().await;
    }
    let _ = server.shutdown().await;
}

/// From server to client, until the connection is held.
async fn downwards(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mode: Mode,
    hold: watch::Receiver<bool>,
    met: Met,
) {
    let mut piece = vec![0; 64 * 1024];
    let mut left = if let Mode::Cut(bytes) = mode { bytes } else { usize::MAX };
    while let Ok(length @ 1..) = server.read(&mut piece).await {
        match mode {
            Mode::Delay(time) => {
                note(&met);
                tokio::time::sleep(time).await;
            }
            Mode::Garbage => {
                note(&met);
                piece[..length].iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31) ^ 0xA5);
            }
            _ => {}
        }
        let length = length.min(left);
        left -= length;
        if *hold.borrow() {
            // The server has answered, so the request was carried out.
            note(&met);
        } else if client.write_all(&piece[..length]).await.is_err() {
            break;
        } else if left == 0 {
            note(&met);
            break;
        }
    }
    if *hold.borrow() {
        return std::future::pending().await;
    }
    let _ = client.shutdown().await;
}
