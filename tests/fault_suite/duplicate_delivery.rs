//! Delivers every event twice.
//!
//! On a broker, a client of its own publishes everything on the flow's subjects a second time. What this client
//! missed while the broker was away follows at the end. In the queue file of the embedded bus, a trigger doubles
//! every message.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;

use async_nats::{Client, HeaderMap};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use sqlx::{Connection, SqliteConnection};
use tests::block_on;
use tests::nats::{Nats, STREAM, SUBJECTS, Stored};
use tokio::sync::watch;

/// Marks the echo's messages, so that they are not repeated for ever.
const MARK: &str = "Echo";

/// A trigger does not fire for what a trigger has inserted.
const DOUBLE: &str = "CREATE TRIGGER IF NOT EXISTS echo AFTER INSERT ON messages BEGIN
    INSERT INTO messages (subject, headers, payload, published_at, due_at)
    VALUES (new.subject, new.headers, new.payload, new.published_at, new.due_at);
END";

/// How many events were delivered again.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Repeated {
    pub(crate) twice: usize,
    /// How many events were not, although all should come twice.
    pub(crate) once: usize,
}

/// The part that delivers again.
#[derive(Debug)]
pub(crate) enum Echo {
    Broker { end: watch::Sender<bool>, thread: JoinHandle<()> },
    Queue(SqliteConnection),
}

impl Echo {
    pub(crate) fn of_queue(file: &Path) -> Self {
        let url = format!("sqlite://{}", file.display());
        Self::Queue(
            block_on(async {
                let mut connection = SqliteConnection::connect(&url).await?;
                sqlx::raw_sql(DOUBLE).execute(&mut connection).await?;
                Ok::<_, sqlx::Error>(connection)
            })
            .expect("a trigger in the queue"),
        )
    }

    pub(crate) fn of_broker(broker: &Nats) -> Self {
        let client = broker.connect();
        let (end, ended) = watch::channel(false);
        let subscribed = block_on(async {
            let mut all = Vec::new();
            for subject in SUBJECTS {
                all.push(client.subscribe(subject).await.expect("a subscription"));
            }
            client.flush().await.expect("the broker hears");
            all
        });
        let thread = std::thread::spawn(move || block_on(repeat(client, subscribed, ended)));
        Self::Broker { end, thread }
    }

    /// Publishes again what is in the stream only once. Returns how many these were.
    pub(crate) fn repeat_missed(broker: &Nats) -> usize {
        let missed: Vec<_> =
            copies(broker).into_values().filter(|stored| stored.len() == 1).flatten().collect();
        let context = broker.jetstream();
        block_on(async {
            for Stored { subject, headers, payload, .. } in &missed {
                let again =
                    context.publish_with_headers(subject.clone(), marked(headers), payload.clone().into());
                again.await.expect("a broker").await.expect("an acknowledgement");
            }
        });
        missed.len()
    }

    /// Ends it.
    pub(crate) fn finish(self, broker: &Nats) -> Repeated {
        match self {
            Self::Broker { end, thread } => {
                end.send_replace(true);
                let _ = thread.join();
                let copies = copies(broker);
                let once = copies.values().filter(|stored| stored.len() == 1).count();
                Repeated { twice: copies.len() - once, once }
            }
            Self::Queue(mut connection) => {
                let query = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'messages'");
                let messages: i64 =
                    block_on(query.fetch_one(&mut connection)).expect("the number of messages");
                Repeated { twice: usize::try_from(messages / 2).expect("a number"), once: 0 }
            }
        }
    }
}

async fn repeat(client: Client, subscribed: Vec<async_nats::Subscriber>, mut ended: watch::Receiver<bool>) {
    let mut messages = stream::select_all(subscribed);
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            _ = ended.wait_for(|end| *end) => None,
        };
        let Some(message) = message else { return };
        let headers = message.headers.unwrap_or_default();
        if headers.get(MARK).is_some() {
            continue;
        }
        // What does not arrive is found to be missing at the end.
        let _ = client.publish_with_headers(message.subject, marked(&headers), message.payload).await;
    }
}

/// The same without the id by which the broker would recognise it.
fn marked(headers: &HeaderMap) -> HeaderMap {
    let mut marked = HeaderMap::new();
    for (name, values) in headers.iter().filter(|(name, _)| name.to_string() != "Nats-Msg-Id") {
        for value in values {
            marked.append(name.clone(), value.clone());
        }
    }
    marked.insert(MARK, "1");
    marked
}

/// Everything in the stream by subject and payload.
fn copies(broker: &Nats) -> BTreeMap<(String, Vec<u8>), Vec<Stored>> {
    let mut copies = BTreeMap::<_, Vec<_>>::new();
    for stored in broker.stored_in(STREAM) {
        copies.entry((stored.subject.clone(), stored.payload.clone())).or_default().push(stored);
    }
    copies
}
