//! A proxy that stands before the engine and breaks connections. The engine itself is shared, and is never touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to connections. Each call of the client makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Passed on.
    Pass,
    /// Closed at once, including open ones.
    Away,
    /// Passed on, every piece with this delay.
    Slow(Duration),
    /// The connection with this number, counted from 0, is passed on to the engine, and its answer is cut off.
    CutAnswer(usize),
    /// Answered with this status by the proxy itself.
    Answer(u16),
    /// The same, but only for calls with this text in their first line.
    AnswerTo(&'static str, u16),
}

/// A proxy before the engine, on a port of its own; stopped on drop.
pub(super) struct Proxy {
    pub(super) address: String,
    mode: watch::Sender<Mode>,
    count: Arc<AtomicUsize>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn before(host: &str, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let (mode, modes) = watch::channel(mode);
        let count = Arc::new(AtomicUsize::new(0));
        let (host, counted) = (host.to_owned(), Arc::clone(&count));
        let acceptor = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let number = counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(connection(client, host.clone(), modes.clone(), number));
            }
        });
        Self { address, mode, count, acceptor }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many calls were made.
    pub(super) fn calls(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Mode::Away);
        self.acceptor.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connection(mut client: TcpStream, host: String, mut modes: watch::Receiver<Mode>, number: usize) {
    let mode = *modes.borrow_and_update();
    if mode == Mode::Away {
        return;
    }
    let mut head = vec![0; 16 << 10];
    let Ok(length @ 1..) = client.read(&mut head).await else { return };
    head.truncate(length);
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let answered = match mode {
        Mode::Answer(status) => Some(status),
        Mode::AnswerTo(call, status) if line.contains(call) => Some(status),
        _ => None,
    };
    if let Some(status) = answered {
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nno!\n");
        drop(client.write_all(answer.as_bytes()).await);
        drop(client.shutdown().await);
        return;
    }
    let engine: Box<dyn Stream> = match host.strip_prefix("unix://") {
        Some(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        None => Box::new(TcpStream::connect(host.trim_start_matches("tcp://")).await.unwrap()),
    };
    let (mut from_engine, mut to_engine) = tokio::io::split(engine);
    let (mut from_client, mut to_client) = client.split();
    let delay = if let Mode::Slow(delay) = mode { delay } else { Duration::ZERO };
    tokio::time::sleep(delay).await;
    if to_engine.write_all(&head).await.is_err() {
        return;
    }
    let is_cut = mode == Mode::CutAnswer(number);
    let down = async {
        let mut piece = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_engine.read(&mut piece).await {
            tokio::time::sleep(delay).await;
            // The engine has carried out the request.
            if is_cut || to_client.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = down => {}
        () = async {
            drop(tokio::io::copy(&mut from_client, &mut to_engine).await);
            std::future::pending::<()>().await;
        } => {}
        _ = modes.wait_for(|mode| *mode == Mode::Away) => {}
    }
}
