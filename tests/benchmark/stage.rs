//! A broker, and a dispatcher whose Jobs are null processes, to measure the cost of the dispatcher alone.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::{self, consumer};
use serde_json::{Value, json};
use tests::nats::{Nats, STREAM};
use tests::program::{Program, Running, binaries};
use tests::scratch::Scratch;
use tests::{Setting, block_on, http, port, settings, wait};
use uuid::Uuid;

use crate::storage::Storage;

/// How many Jobs run at once, here and on the bare side.
pub(crate) const AT_ONCE: usize = 8;

/// How many messages are sent before their acknowledgements are awaited.
const BATCH: usize = 1000;

/// A broker, and manifests for it.
pub(crate) struct Stage {
    pub(crate) nats: Nats,
    pub(crate) scratch: Scratch,
    context: jetstream::Context,
}

/// A dispatcher that is ready.
pub(crate) struct Dispatcher {
    pub(crate) running: Running,
    /// The port of its HTTP server.
    pub(crate) port: u16,
    /// From its start to its readiness, in milliseconds.
    pub(crate) ready_after: f64,
}

impl Stage {
    /// `user-saved` as shipped, but with a Job that does nothing; and `customer-saved`, whose Job stays for an hour.
    pub(crate) fn start() -> Self {
        let (nats, scratch) = (Nats::start(), Scratch::new("benchmark"));
        for (event, worker, variable) in [
            ("user-saved", "save-user", r#"{name: STAMP, value: {{ get $data "stamp" | quote }}}"#),
            ("customer-saved", "save-customer", r#"{name: SLEEP, value: "3600"}"#),
        ] {
            for file in ["eventsource.yaml", "eventtrigger.yaml", "configmap.yaml"] {
                let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events").join(event).join(file);
                let text = std::fs::read_to_string(shipped).expect("a shipped manifest");
                let text =
                    text.replace(&format!("knapscen/{worker}:latest"), "benchmark/benchmark-null:latest");
                let text = text.replace(
                    "              env:\n",
                    &format!("              env:\n                - {variable}\n"),
                );
                scratch.write(&format!("events/{event}/{file}"), &text);
            }
        }
        scratch.write("knapscen-config.env", "NOTHING=here\n");
        let context = nats.jetstream();
        Self { nats, scratch, context }
    }

    /// Adds this many rules for `user-saved` messages, each for a type of event that never comes.
    pub(crate) fn add_rules(&self, count: usize) {
        for file in ["eventsource.yaml", "eventtrigger.yaml", "configmap.yaml"] {
            let path = self.scratch.join(&format!("events/user-saved/{file}"));
            let text = std::fs::read_to_string(path).expect("a manifest");
            for number in 0..count {
                let text = text
                    .replace("name: user-saved", &format!("name: rule-{number}"))
                    .replace("Name: user-saved", &format!("Name: rule-{number}"))
                    .replace(r"user\.saved", &format!(r"user\.other{number}"));
                self.scratch.write(&format!("events/rule-{number}/{file}"), &text);
            }
        }
    }

    /// Starts a dispatcher on it, with a state folder of its own and the history in memory.
    pub(crate) fn dispatcher(&self, state: &str) -> Dispatcher {
        self.dispatcher_with(&self.scratch.join(state), Vec::new())
    }

    /// The same, with this token for its HTTP server.
    pub(crate) fn dispatcher_with_tokens(&self, state: &str, token: &str) -> Dispatcher {
        let tokens = settings([("EVENTS_TOKEN", token), ("ADMIN_TOKEN", &token.to_uppercase())]);
        self.dispatcher_with(&self.scratch.join(state), tokens)
    }

    /// Starts a dispatcher that keeps its state and history there.
    pub(crate) fn dispatcher_with_storage(&self, storage: &Storage) -> Dispatcher {
        self.dispatcher_with(&storage.state(), storage.settings())
    }

    fn dispatcher_with(&self, state: &Path, settings: Vec<Setting>) -> Dispatcher {
        let with = |program: Program, name: &str, value: String| program.argument(name).argument(value);
        let program = Program::dispatcher().settings(settings).argument("run");
        let secret = self.scratch.join("knapscen-config.env");
        let program = with(program, "--secret", format!("knapscen-config={}", secret.display()));
        let program = with(program, "--state-dir", state.display().to_string());
        let program = with(program, "--bin-dir", binaries().display().to_string());
        self.start_dispatcher(with(program, "--max-running", AT_ONCE.to_string()))
    }

    /// Starts a dispatcher with these options on the broker and the manifests.
    pub(crate) fn start_dispatcher(&self, program: Program) -> Dispatcher {
        let port = port::free();
        let program = program
            .settings(self.nats.settings())
            .argument("--events")
            .argument(self.scratch.join("events"))
            .argument("--listen")
            .argument(format!("127.0.0.1:{port}"));
        let started = Instant::now();
        let mut running = program.start();
        let limit = started + wait::LIMIT;
        while http::get(port, "/readyz").map_or(0, |answer| answer.status) != 200 {
            running.process.check_alive();
            assert!(Instant::now() < limit, "the dispatcher is not ready");
            std::thread::sleep(Duration::from_micros(500));
        }
        Dispatcher { running, port, ready_after: crate::measure::milliseconds(started.elapsed()) }
    }

    /// Publishes an event to a subject. With a stamp, its Job writes its start time there. Returns the time before,
    /// in nanoseconds.
    pub(crate) fn publish(&self, subject: &str, stamp: &Path) -> u128 {
        let payload = event(subject, &stamp.display().to_string());
        let before = now();
        block_on(async { self.context.publish(subject.to_owned(), payload.into()).await?.await })
            .expect("an acknowledgement");
        before
    }

    /// Publishes an event with this many bytes, or as many bytes that are not an event.
    pub(crate) fn publish_large(&self, subject: &str, bytes: usize, valid: bool) {
        let payload = if valid { event(subject, &"x".repeat(bytes)) } else { vec![b'x'; bytes] };
        block_on(async { self.context.publish(subject.to_owned(), payload.into()).await?.await })
            .expect("an acknowledgement");
    }

    /// Publishes many events as fast as the broker accepts them.
    pub(crate) fn publish_many(&self, subject: &str, count: usize) {
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            block_on(async {
                let mut acknowledgements = Vec::with_capacity(batch);
                for _ in 0..batch {
                    let payload = event(subject, "");
                    let sent = self.context.publish(subject.to_owned(), payload.into()).await;
                    acknowledgements.push(sent.expect("a connection"));
                }
                for acknowledgement in acknowledgements {
                    acknowledgement.await.expect("an acknowledgement");
                }
            });
        }
    }

    /// Waits until the dispatcher's consumer has received an answer to everything on its subject.
    pub(crate) fn until_all_answered(&self, subject: &str) {
        let limit = Instant::now() + Duration::from_mins(30);
        while self.unanswered(STREAM, &format!("dispatcher-{subject}")) > 0 {
            assert!(Instant::now() < limit, "events are left on {subject}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Messages that wait or are being handled. Not zero while the consumer does not exist yet. One small request, so
    /// that polling costs little, and the same for either side.
    pub(crate) fn unanswered(&self, stream: &str, consumer: &str) -> u64 {
        let consumer =
            self.context.get_consumer_from_stream::<consumer::pull::Config, _, _>(consumer, stream);
        let Ok(consumer) = block_on(consumer) else { return u64::MAX };
        let info = consumer.cached_info();
        info.num_pending + u64::try_from(info.num_ack_pending).expect("a count")
    }
}

/// A stamp, once it exists.
pub(crate) fn stamped(path: &Path) -> u128 {
    wait::until(wait::LIMIT, "the Job is started", || std::fs::read_to_string(path).ok()?.parse().ok())
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

fn event(nats_subject: &str, stamp: &str) -> Vec<u8> {
    let kind = if nats_subject == "customer-saved" { "customer" } else { "user" };
    let (id, subject) = (Uuid::new_v4(), Uuid::new_v4());
    let event: Value = json!({
        "specversion": "1.0", "id": id, "source": "knapscen.disco", "type": format!("disco.knapscen.{kind}.saved"), "subject": subject,
        "time": "2026-02-27T09:15:02Z", "datacontenttype": "application/json", "correlationid": id, "hopcount": 2,
        "traceparent": "00-7d1c0f6e2b8a4c59a3e4d5f60718293a-a1b2c3d4e5f60712-01",
        "data": {
            "customer_id": subject, "customer_name": "Helios Instruments", "subscription_tier": "groovy", "user_id": id,
            "name": "Mara Lindqvist", "email": "mara.lindqvist@helios-instruments.example",
            "role": "customer_account_owner", "stamp": stamp,
        },
    });
    event.to_string().into_bytes()
}
