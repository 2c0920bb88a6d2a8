//! A real nats-server with JetStream on disk.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::Value;

use crate::process::Process;
use crate::scratch::Scratch;
use crate::{Setting, block_on, port, server, settings, wait};

/// The stream of the product.
pub const STREAM: &str = "customer-onboarding";

/// The subjects of the flow, in its order.
pub const SUBJECTS: [&str; 8] = [
    "customer-registered",
    "customer-saved",
    "user-saved",
    "welcome-email-sent",
    "marketing-notified",
    "swag-ordered",
    "touchpoints-created",
    "customer-onboarded",
];

/// A nats-server; killed on drop. Its port and data survive a stop and a new start.
#[derive(Debug)]
pub struct Nats {
    process: Option<Process>,
    port: u16,
    login: Option<(String, String)>,
    program: PathBuf,
    scratch: Scratch,
}

/// One message as the stream keeps it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its number in the stream.
    pub sequence: u64,
    /// The subject that it was published on.
    pub subject: String,
    /// `Nats-Msg-Id`, if the publisher set one.
    pub message_id: Option<String>,
    /// All headers.
    pub headers: async_nats::HeaderMap,
    /// The payload as received.
    pub payload: Vec<u8>,
    /// The payload as JSON; null if it is not JSON.
    pub event: Value,
}

impl Nats {
    /// A server without a login on loopback.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// A server that requires this user and password.
    pub fn start_with_login(user: &str, password: &str) -> Self {
        Self::start_with(Some((user.to_owned(), password.to_owned())))
    }

    /// A server of another version, `nats-2.10`, without a login on loopback.
    pub fn start_version(name: &str) -> Self {
        Self::start_program(server::place(name).join("run"), None)
    }

    fn start_with(login: Option<(String, String)>) -> Self {
        Self::start_program("nats-server".into(), login)
    }

    fn start_program(program: PathBuf, login: Option<(String, String)>) -> Self {
        let scratch = Scratch::new("nats");
        let mut server = Self { process: None, port: port::free(), login, program, scratch };
        server.start_again();
        server
    }

    /// Starts it again after [`Self::stop`], on the same port with the same data.
    pub fn start_again(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(["--addr", "127.0.0.1", "--port", &self.port.to_string(), "--jetstream"]);
        command.arg("--store_dir").arg(self.scratch.join("store"));
        if let Some((user, password)) = &self.login {
            command.args(["--user", user, "--pass", password]);
        }
        let mut process = Process::spawn("nats-server", command, &self.scratch.join("log"));
        process.until("is ready", || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok());
        let client = self.connect();
        process.until("has JetStream", || {
            block_on(async { jetstream::new(client.clone()).query_account().await }).ok()
        });
        self.process = Some(process);
    }

    /// Kills it; what it has acknowledged is on the disk.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// The folder of its streams, to be copied or replaced while it is stopped.
    pub fn store(&self) -> PathBuf {
        self.scratch.join("store")
    }

    /// Freezes it: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.process.as_ref().expect("a running server").pause();
    }

    /// Continues a frozen server.
    pub fn resume(&self) {
        self.process.as_ref().expect("a running server").resume();
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `nats://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What a worker or dispatcher needs to reach it.
    pub fn settings(&self) -> Vec<Setting> {
        let mut found = settings([("NATS_SERVER", &self.url()), ("NATS_STREAM", STREAM)]);
        if let Some((user, password)) = &self.login {
            found.extend(settings([("NATS_USER", user), ("NATS_PASSWORD", password)]));
        }
        found
    }

    /// A client of its own.
    pub fn connect(&self) -> async_nats::Client {
        let mut options = async_nats::ConnectOptions::new().connection_timeout(Duration::from_secs(10));
        if let Some((user, password)) = &self.login {
            options = options.user_and_password(user.clone(), password.clone());
        }
        block_on(options.connect(self.url())).expect("nats-server accepts a client")
    }

    /// A JetStream client of its own.
    pub fn jetstream(&self) -> jetstream::Context {
        let client = self.connect();
        // It starts a task, which needs the runtime.
        block_on(async { jetstream::new(client) })
    }

    /// Creates the stream of the product, for workers that run without a dispatcher.
    pub fn create_stream(&self) {
        let wanted = stream::Config {
            name: STREAM.to_owned(),
            subjects: SUBJECTS.map(str::to_owned).to_vec(),
            duplicate_window: Duration::from_mins(2),
            ..stream::Config::default()
        };
        block_on(self.jetstream().create_stream(wanted)).expect("a stream");
    }

    /// Publishes an event like a foreign program: without headers; acknowledged by the stream.
    pub fn publish(&self, subject: &str, event: &Value) {
        self.publish_bytes(subject, event.to_string().into_bytes());
    }

    /// Publishes any bytes; acknowledged by the stream.
    pub fn publish_bytes(&self, subject: &str, payload: Vec<u8>) {
        let context = self.jetstream();
        block_on(async { context.publish(subject.to_owned(), payload.into()).await?.await })
            .expect("an acknowledgement");
    }

    /// Everything in the product's stream, oldest first; empty if there is no stream.
    pub fn stored(&self) -> Vec<Stored> {
        self.stored_in(STREAM)
    }

    /// Everything in a stream, oldest first; empty if there is no such stream.
    pub fn stored_in(&self, name: &str) -> Vec<Stored> {
        let context = self.jetstream();
        block_on(async {
            let Ok(mut stream) = context.get_stream(name).await else { return Vec::new() };
            let state = stream.info().await.expect("stream information").state.clone();
            let mut found = Vec::new();
            for sequence in state.first_sequence..=state.last_sequence {
                // A removed message leaves a gap.
                let Ok(message) = stream.get_raw_message(sequence).await else { continue };
                found.push(Stored {
                    sequence,
                    subject: message.subject.to_string(),
                    message_id: message.headers.get("Nats-Msg-Id").map(ToString::to_string),
                    headers: message.headers,
                    event: serde_json::from_slice(&message.payload).unwrap_or(Value::Null),
                    payload: message.payload.to_vec(),
                });
            }
            found
        })
    }

    /// The events on one subject of the product's stream, oldest first.
    pub fn events(&self, subject: &str) -> Vec<Value> {
        self.stored()
            .into_iter()
            .filter(|stored| stored.subject == subject)
            .map(|stored| stored.event)
            .collect()
    }

    /// Messages of the product's stream that its consumers have not answered; `None` if the server is away.
    pub fn unanswered(&self) -> Option<u64> {
        let context = self.jetstream();
        block_on(async {
            let stream = context.get_stream(STREAM).await.ok()?;
            let mut consumers = stream.consumers();
            let mut sum = 0;
            while let Some(consumer) = consumers.next().await {
                let consumer = consumer.ok()?;
                sum += consumer.num_pending + consumer.num_ack_pending as u64;
            }
            Some(sum)
        })
    }

    /// Removes every consumer of the product's stream. Returns how many there were.
    pub fn remove_consumers(&self) -> usize {
        let context = self.jetstream();
        block_on(async {
            let stream = context.get_stream(STREAM).await.expect("the stream");
            let names: Vec<String> = stream.consumer_names().try_collect().await.expect("the consumers");
            for name in &names {
                stream.delete_consumer(name).await.expect("a consumer is removed");
            }
            names.len()
        })
    }

    /// Changes the configuration of the product's stream.
    pub fn change_stream(&self, change: impl FnOnce(&mut stream::Config, u64)) {
        let context = self.jetstream();
        block_on(async {
            let mut stream = context.get_stream(STREAM).await.expect("the stream");
            let info = stream.info().await.expect("stream information");
            let (mut config, bytes) = (info.config.clone(), info.state.bytes);
            change(&mut config, bytes);
            context.update_stream(config).await.expect("a changed stream");
        });
    }

    /// The subjects of the product's stream.
    pub fn subjects(&self) -> Vec<String> {
        let context = self.jetstream();
        block_on(async {
            context.get_stream(STREAM).await.map(|stream| stream.cached_info().config.subjects.clone())
        })
        .unwrap_or_default()
    }

    /// Removes what its consumer has acknowledged, subject by subject, up to this message, like aging. Returns how
    /// many messages.
    pub fn purge_acknowledged(&self, last: u64) -> u64 {
        let context = self.jetstream();
        block_on(async {
            let stream = context.get_stream(STREAM).await.expect("the stream");
            let consumers: Vec<_> = stream.consumers().try_collect().await.expect("the consumers");
            let mut purged = 0;
            for consumer in consumers {
                let (subject, floor) =
                    (consumer.config.filter_subject, consumer.ack_floor.stream_sequence.min(last));
                let request = stream.purge().filter(subject).sequence(floor + 1);
                purged += request.await.expect("a purge").purged;
            }
            purged
        })
    }

    /// Removes everything from a stream. Returns how many messages.
    pub fn purge(&self, name: &str) -> u64 {
        let context = self.jetstream();
        block_on(async {
            let Ok(stream) = context.get_stream(name).await else { return 0 };
            stream.purge().await.expect("a purge").purged
        })
    }

    /// Publishes a message with any bytes as its header block, which no client library would do; acknowledged by the
    /// server.
    pub fn publish_raw(&self, subject: &str, headers: &[u8], payload: &[u8]) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        let head = [b"NATS/1.0\r\n", headers, b"\r\n\r\n"].concat();
        let sizes = format!("{} {}", head.len(), head.len() + payload.len());
        let begin = format!("CONNECT {{\"headers\":true,\"verbose\":false}}\r\nHPUB {subject} {sizes}\r\n");
        let all = [begin.as_bytes(), &head, payload, b"\r\nPING\r\n"].concat();
        socket.write_all(&all).expect("a message");
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !answer.windows(4).any(|four| four == b"PONG") {
            let length = socket.read(&mut piece).expect("an answer");
            assert!(length > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..length]);
        }
    }

    /// Waits until this many events are on the subject.
    pub fn until_events(&self, subject: &str, count: usize) -> Vec<Value> {
        wait::until(wait::LIMIT, &format!("{count} events are on {subject}"), || {
            let events = self.events(subject);
            (events.len() >= count).then_some(events)
        })
    }
}
