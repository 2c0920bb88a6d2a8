//! Publishes registrations and hostile events like a foreign program.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use tests::nats::Nats;
use tests::{block_on, http, wait};

/// Where events are published.
#[derive(Debug)]
pub(crate) enum Publisher {
    /// On a NATS subject, acknowledged by the stream.
    Broker(Box<jetstream::Context>),
    /// To a dispatcher over HTTP, each twice, because there is no broker that could repeat it.
    Http(u16),
}

impl Publisher {
    pub(crate) fn on(broker: &Nats) -> Self {
        Self::Broker(Box::new(broker.jetstream()))
    }

    /// Publishes until it is acknowledged. False if it is refused for good.
    pub(crate) fn publish(&self, subject: &str, headers: &[(&str, String)], payload: &[u8]) -> bool {
        wait::until(wait::LIMIT, "an event is taken", || match self {
            Self::Broker(context) => {
                let sent = block_on(async {
                    let payload = payload.to_vec().into();
                    let mut all = HeaderMap::new();
                    for (name, value) in headers {
                        all.append(*name, value.as_str());
                    }
                    context.publish_with_headers(subject.to_owned(), all, payload).await?.await
                });
                sent.is_ok().then_some(true)
            }
            Self::Http(port) => {
                let answers: Vec<_> = (0..2).map(|_| post(*port, payload)).collect::<Option<_>>()?;
                let taken = answers.iter().all(|status| *status == 202);
                (taken || answers.iter().all(|status| (400..500).contains(status))).then_some(taken)
            }
        })
    }
}

fn post(port: u16, payload: &[u8]) -> Option<u16> {
    let headers = [("Content-Type", "application/cloudevents+json")];
    http::request(Duration::from_secs(10), port, "POST", "/events", &headers, payload)
        .ok()
        .map(|answer| answer.status)
}
