//! A client of a stack's NATS: it publishes registrations, and sees when customers are onboarded.

use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr, Subscriber, jetstream};
use futures_util::StreamExt;
use serde_json::Value;
use tests::block_on;
use tests::stack::Stack;

/// A limit for the next one of many customers at once, whose Jobs wait for their places.
const LIMIT: Duration = Duration::from_mins(30);

/// It receives what is published after it was created.
pub(super) struct Client {
    context: jetstream::Context,
    onboarded: Subscriber,
}

impl Client {
    pub(super) fn of(stack: &Stack) -> Self {
        let server: ServerAddr = stack.nats().parse().expect("an address");
        // The library ignores the user in the address when it connects.
        let [user, password] = [server.username(), server.password()].map(Option::unwrap_or_default);
        let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
        block_on(async {
            let client = options.connect(server).await.expect("NATS accepts a client");
            let onboarded = client.subscribe("customer-onboarded").await.expect("a subscription");
            client.flush().await.expect("the server knows of it");
            Self { context: jetstream::new(client), onboarded }
        })
    }

    /// Publishes registrations as fast as the stream accepts them.
    pub(super) fn publish(&self, registrations: &[Value]) {
        block_on(async {
            for event in registrations {
                let sent = self.context.publish("customer-registered", event.to_string().into()).await;
                sent.expect("a connection").await.expect("an acknowledgement");
            }
        });
    }

    /// Waits for this many more customers. It counts events, because asking the dispatcher would slow it down.
    pub(super) fn until_onboarded(&mut self, customers: usize) {
        for _ in 0..customers {
            let next = block_on(async { tokio::time::timeout(LIMIT, self.onboarded.next()).await });
            next.ok().flatten().expect("a customer is onboarded");
        }
    }
}
