//! A real nats-server with JetStream on disk.

use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use serde_json::Value;

use crate::process::Process;
use crate::scratch::Scratch;
use crate::{Setting, block_on, port, settings, wait};

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
    scratch: Scratch,
}

/// One message as the stream keeps it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Position in the stream.
    pub sequence: u64,
    /// Where it was published.
    pub subject: String,
    /// `Nats-Msg-Id`, when the publisher gave one.
    pub message_id: Option<String>,
    /// All headers.
    pub headers: async_nats::HeaderMap,
    /// The payload as it came.
    pub payload: Vec<u8>,
    /// The payload as JSON; null when it is none.
    pub event: Value,
}

impl Nats {
    /// A server open to anyone on loopback.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// A server that asks for this user and password.
    pub fn start_with_login(user: &str, password: &str) -> Self {
        Self::start_with(Some((user.to_owned(), password.to_owned())))
    }

    fn start_with(login: Option<(String, String)>) -> Self {
        let mut server = Self { process: None, port: port::free(), login, scratch: Scratch::new("nats") };
        server.start_again();
        server
    }

    /// Starts it again after [`Self::stop`], on the same port with the same data.
    pub fn start_again(&mut self) {
        let mut command = Command::new("nats-server");
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

    /// Kills it; what it has acknowledged is on disk.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Freezes it: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.process.as_ref().expect("a running server").pause();
    }

    /// Lets a frozen one go on.
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
        // It starts a task of its own, for which it needs the runtime.
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

    /// Publishes an event as another program would: no headers; acknowledged by the stream.
    pub fn publish(&self, subject: &str, event: &Value) {
        self.publish_bytes(subject, event.to_string().into_bytes());
    }

    /// Publishes any bytes; acknowledged by the stream.
    pub fn publish_bytes(&self, subject: &str, payload: Vec<u8>) {
        let context = self.jetstream();
        block_on(async { context.publish(subject.to_owned(), payload.into()).await?.await })
            .expect("an acknowledgement");
    }

    /// Everything in the product's stream, oldest first; empty while there is no stream.
    pub fn stored(&self) -> Vec<Stored> {
        self.stored_in(STREAM)
    }

    /// Everything in a stream, oldest first; empty while there is no such stream.
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

    /// Messages of the product's stream that its consumers have not answered; `None` while the server is away.
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

    /// Waits until so many events are on the subject.
    pub fn until_events(&self, subject: &str, count: usize) -> Vec<Value> {
        wait::until(wait::LIMIT, &format!("{count} events are on {subject}"), || {
            let events = self.events(subject);
            (events.len() >= count).then_some(events)
        })
    }
}
