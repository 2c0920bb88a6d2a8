//! Delivers every event twice: what appears on the flow's subjects is published once more, by a client of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::{StreamExt, stream};
use tests::block_on;
use tests::nats::{Nats, SUBJECTS};
use tokio::sync::watch;

/// Marks what was published by the echo, so that it is not repeated for ever.
const MARK: &str = "Echo";

/// A running echo; ended by [`Echo::finish`].
#[derive(Debug)]
pub(crate) struct Echo {
    count: Arc<AtomicU64>,
    end: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Echo {
    pub(crate) fn start(broker: &Nats) -> Self {
        let client = broker.connect();
        let count = Arc::new(AtomicU64::new(0));
        let (end, mut ended) = watch::channel(false);
        let counted = Arc::clone(&count);
        let subscribed = block_on(async {
            let mut all = Vec::new();
            for subject in SUBJECTS {
                all.push(client.subscribe(subject).await.expect("a subscription"));
            }
            client.flush().await.expect("the broker hears");
            all
        });
        let thread = std::thread::spawn(move || {
            block_on(async move {
                let mut messages = stream::select_all(subscribed);
                loop {
                    let message = tokio::select! {
                        message = messages.next() => message,
                        _ = ended.wait_for(|end| *end) => None,
                    };
                    let Some(message) = message else { return };
                    if message.headers.as_ref().is_some_and(|headers| headers.get(MARK).is_some()) {
                        continue;
                    }
                    // Without the id by which the broker would know it again.
                    let mut headers = HeaderMap::new();
                    headers.insert(MARK, "1");
                    if client.publish_with_headers(message.subject, headers, message.payload).await.is_ok() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        });
        Self { count, end, thread }
    }

    /// So many so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn finish(self) {
        // What is on its way goes out first.
        std::thread::sleep(Duration::from_millis(200));
        self.end.send_replace(true);
        let _ = self.thread.join();
    }
}
