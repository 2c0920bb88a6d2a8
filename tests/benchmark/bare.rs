//! The minimum that takes an event and starts a process for it: a pull consumer and a spawn, nothing else.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::jetstream::{AckKind, consumer, stream};
use futures_util::StreamExt;
use serde_json::Value;
use tests::program::binaries;
use tests::{block_on, nats::Nats};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::stage::{AT_ONCE, now};

/// Its stream, and the subject in it.
pub(crate) const SUBJECT: &str = "bare";

/// A bare dispatcher; ends on drop.
pub(crate) struct Bare {
    task: JoinHandle<()>,
    /// When the last process was started, as the value just before.
    spawned: Arc<std::sync::Mutex<u128>>,
    ended: Arc<AtomicU64>,
}

impl Bare {
    /// Creates its stream and consumer, and starts to pull.
    pub(crate) fn start(nats: &Nats) -> Self {
        let context = nats.jetstream();
        let (spawned, ended) = (Arc::<std::sync::Mutex<u128>>::default(), Arc::<AtomicU64>::default());
        block_on(async {
            let wanted =
                stream::Config { name: SUBJECT.into(), subjects: vec![SUBJECT.into()], ..Default::default() };
            let stream = context.get_or_create_stream(wanted).await.expect("a stream");
            let wanted = consumer::pull::Config { durable_name: Some(SUBJECT.into()), ..Default::default() };
            let consumer = stream.get_or_create_consumer(SUBJECT, wanted).await.expect("a consumer");
            let mut messages = consumer.messages().await.expect("messages");
            let places = Arc::new(Semaphore::new(AT_ONCE));
            let (last, count) = (Arc::clone(&spawned), Arc::clone(&ended));
            let task = tokio::spawn(async move {
                while let Some(message) = messages.next().await {
                    let message = message.expect("a message");
                    let place = Arc::clone(&places).acquire_owned().await.expect("a place");
                    let (last, count) = (Arc::clone(&last), Arc::clone(&count));
                    tokio::spawn(async move {
                        let event: Value = serde_json::from_slice(&message.payload).expect("JSON");
                        let stamp = PathBuf::from(event["data"]["stamp"].as_str().unwrap_or_default());
                        tokio::task::spawn_blocking(move || job(stamp, &last)).await.expect("a process");
                        message.ack_with(AckKind::Ack).await.expect("an answer");
                        count.fetch_add(1, Ordering::Relaxed);
                        drop(place);
                    });
                }
            });
            Self { task, spawned, ended }
        })
    }

    /// When the last process was started, in nanoseconds, measured just before.
    pub(crate) fn spawned(&self) -> u128 {
        *self.spawned.lock().expect("the time")
    }

    /// How many Jobs have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn job(stamp: PathBuf, spawned: &std::sync::Mutex<u128>) {
    let mut command = Command::new(binaries().join("benchmark-null"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    if !stamp.as_os_str().is_empty() {
        command.env("STAMP", stamp);
    }
    *spawned.lock().expect("the time") = now();
    assert!(command.status().expect("a process").success());
}
