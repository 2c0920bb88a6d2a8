//! A TCP proxy that stands for a broken network, and that stops a client at a chosen byte of its conversation.
//!
//! A worker that talks to its servers through a proxy can be held just before it sends `COMMIT`, or just after the
//! server has carried it out, without any hook in the worker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{block_on, runtime, wait};

/// What happens to connections. A change cuts none of them, except [`Mode::Refuse`], which cuts all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Passed on.
    Pass,
    /// Closed at once, the open ones too.
    Refuse,
    /// Accepted, and then nothing passes.
    Silent,
    /// Passed on, every piece this much later.
    Delay(Duration),
    /// The server's words are replaced by bytes that mean nothing, as many.
    Garbage,
    /// So many bytes of the server's words are passed on, then the connection ends.
    Cut(usize),
    /// Passed on until the client sends these bytes: they never reach the server, and nothing after them.
    HoldBefore(&'static str),
    /// Passed on until the client has sent these bytes: the server gets them, its answer never comes back.
    HoldAfter(&'static str),
}

/// A proxy before one server; stopped on drop.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    reached: Arc<Mutex<usize>>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// A proxy on a port of its own before `127.0.0.1:port`.
    pub fn before(port: u16) -> Self {
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let (mode, modes) = watch::channel(Mode::Pass);
        let reached = Arc::new(Mutex::new(0));
        let acceptor = runtime().spawn(accept(listener, port, modes, Arc::clone(&reached)));
        Self { port: own, mode, reached, acceptor }
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what happens from now on. A hold applies to connections made after it.
    pub fn set(&self, mode: Mode) {
        *self.reached.lock().expect("a count") = 0;
        self.mode.send_replace(mode);
    }

    /// Whether a client stands at the hold point.
    pub fn reached(&self) -> bool {
        *self.reached.lock().expect("a count") > 0
    }

    /// Waits until a client stands at the hold point.
    pub fn until_reached(&self) {
        wait::until_true("a client stands at the hold point", || self.reached());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.mode.send_replace(Mode::Refuse);
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, modes: watch::Receiver<Mode>, reached: Arc<Mutex<usize>>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(connection(client, port, modes.clone(), Arc::clone(&reached)));
    }
}

async fn connection(
    client: TcpStream,
    port: u16,
    mut modes: watch::Receiver<Mode>,
    reached: Arc<Mutex<usize>>,
) {
    let _ = client.set_nodelay(true);
    let mode = modes.borrow_and_update().clone();
    let refused = async {
        // An error means that the proxy is gone, which refuses as well.
        let _ = modes.wait_for(|mode| *mode == Mode::Refuse).await;
    };
    match mode {
        Mode::Refuse => {}
        Mode::Silent => refused.await,
        _ => {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let _ = server.set_nodelay(true);
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let (held, watched) = watch::channel(false);
            let up = upwards(from_client, to_server, mode.clone(), held, Arc::clone(&reached));
            let down = downwards(from_server, to_client, mode, watched, reached);
            tokio::select! {
                () = refused => {}
                ((), ()) = async { tokio::join!(up, down) } => {}
            }
        }
    }
}

/// Client to server, until the bytes of a hold have come.
async fn upwards(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    mode: Mode,
    held: watch::Sender<bool>,
    reached: Arc<Mutex<usize>>,
) {
    let (needle, before) = match mode {
        Mode::HoldBefore(needle) => (needle.as_bytes(), true),
        Mode::HoldAfter(needle) => (needle.as_bytes(), false),
        _ => (&b""[..], false),
    };
    let mut seen = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = client.read(&mut piece).await {
        if let Mode::Delay(time) = mode {
            tokio::time::sleep(time).await;
        }
        if !needle.is_empty() && !*held.borrow() {
            seen.extend_from_slice(&piece[..length]);
            if seen.windows(needle.len()).any(|window| window == needle) {
                held.send_replace(true);
                if before {
                    *reached.lock().expect("a count") += 1;
                    // Both sides stay open, and read nothing more.
                    return std::future::pending().await;
                }
            }
            // Of what is past only a beginning of the needle can matter.
            let kept = seen.len().saturating_sub(needle.len());
            seen.drain(..kept);
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

/// Server to client, until the connection is held.
async fn downwards(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mode: Mode,
    hold: watch::Receiver<bool>,
    reached: Arc<Mutex<usize>>,
) {
    let mut piece = vec![0; 64 * 1024];
    let mut left = if let Mode::Cut(bytes) = mode { bytes } else { usize::MAX };
    while let Ok(length @ 1..) = server.read(&mut piece).await {
        match mode {
            Mode::Delay(time) => tokio::time::sleep(time).await,
            Mode::Garbage => piece[..length].iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31) ^ 0xA5),
            _ => {}
        }
        let length = length.min(left);
        left -= length;
        if *hold.borrow() {
            // The server has answered: what it was asked is done.
            *reached.lock().expect("a count") += 1;
        } else if client.write_all(&piece[..length]).await.is_err() || left == 0 {
            break;
        }
    }
    if *hold.borrow() {
        return std::future::pending().await;
    }
    let _ = client.shutdown().await;
}
