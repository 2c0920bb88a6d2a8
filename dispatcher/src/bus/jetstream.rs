//! The bus on NATS `JetStream`: one stream, one durable pull consumer for each subject, shared by all replicas, and a
//! second stream for the dead letters.
//!
//! Speaks the `JetStream` API in JSON rather than through typed configurations, so that settings of a newer server or
//! an operator survive an update of the stream.

mod api;
mod connect;
mod consumer;
mod dead_letters;
mod handle;
mod pull;
mod quarantine;
mod stream;
mod sveltos;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};

use super::dead_letter::Letter;
use super::fetches::Fetches;
use super::{Backlog, Delivery, Error, Health, Message, Receipt, Result, Settings};
use api::Api;
use consumer::Consumer;
pub(super) use handle::Handle;
use pull::Times;

/// A connection to one stream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JetStream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    api: Api,
    stream: stream::Wanted,
    times: Times,
    /// What the settings list beside the manifests.
    listed: BTreeSet<String>,
    /// What this process has asked for: repaired when somebody removes it.
    subjects: Mutex<BTreeSet<String>>,
    fetches: Fetches,
    /// By subject: those ensured or fetched by this process.
    consumers: Mutex<BTreeMap<String, Arc<Consumer>>>,
}

impl JetStream {
    pub(super) async fn open(settings: &Settings) -> Result<Self> {
        let settings = &*sveltos::applied(settings)?;
        let stream = stream::Wanted::from_settings(settings)?;
        let api = connect::connect(settings).await?;
        stream.check(&api).await?;
        let times = Times { lease: settings.lease, heartbeat: settings.heartbeat };
        let listed = settings.subjects.iter().cloned().collect();
        let inner = Inner {
            api,
            stream,
            times,
            listed,
            subjects: Mutex::default(),
            fetches: Fetches::default(),
            consumers: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) async fn ensure_subjects(&self, subjects: &BTreeSet<String>) -> Result<()> {
        let subjects = subjects | &self.inner.listed;
        self.inner.stream.ensure(&self.inner.api, &subjects).await?;
        self.inner.subjects.lock().unwrap_or_else(PoisonError::into_inner).extend(subjects);
        self.inner.stream.ensure_dead_letters(&self.inner.api).await
    }

    pub(super) async fn subjects(&self) -> Result<Vec<String>> {
        self.inner.stream.subjects(&self.inner.api).await
    }

    pub(super) async fn fetch(&self, subject: &str, max: usize) -> Result<Vec<Delivery>> {
        let asked = self.inner.fetches.begin(subject);
        let fetched = self.consumer(subject).fetch(max).await;
        asked.ended(fetched.is_ok());
        if fetched.as_ref().is_err_and(Error::try_again) && self.inner.api.connected() {
            self.repair().await?; // somebody may have removed the stream
        }
        fetched
    }

    pub(super) async fn publish(&self, message: Message) -> Result<Receipt> {
        let headers = header_map(&message.checked_headers()?)?;
        let stored = self.inner.api.publish(&message.subject, headers, message.payload).await?;
        if stored.stream != self.inner.stream.name {
            return Err(Error::Configuration(format!(
                "subject {} belongs to the NATS stream {}, not to {}: take it out of that stream, or set NATS_STREAM",
                message.subject, stored.stream, self.inner.stream.name
            )));
        }
        Ok(Receipt { sequence: stored.sequence, duplicate: stored.duplicate })
    }

    pub(super) async fn dead_letter(&self, letter: Letter) -> Result<()> {
        dead_letters::store(&self.inner.api, &self.inner.stream, letter).await
    }

    pub(super) async fn backlog(&self) -> Result<Vec<Backlog>> {
        consumer::backlog(&self.inner.api, &self.inner.stream.name).await
    }

    pub(super) async fn check(&self, within: Duration) -> Health {
        let repaired = self.repair().await;
        let problem = repaired.err().map(|error| error.to_string());
        Health { problem: problem.or_else(|| self.inner.fetches.late(within)) }
    }

    pub(super) async fn close(&self) {
        for consumer in self.consumers() {
            consumer.hand_back().await;
        }
        self.inner.api.close().await;
    }

    /// Adds the subjects that this process wants if they are gone: two dispatchers that add at the same time may undo
    /// each other, and people remove streams.
    async fn repair(&self) -> Result<()> {
        let wanted = self.inner.subjects.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if wanted.is_empty() {
            return self.inner.stream.subjects(&self.inner.api).await.map(drop);
        }
        self.inner.stream.ensure(&self.inner.api, &wanted).await
    }

    fn consumer(&self, subject: &str) -> Arc<Consumer> {
        let mut consumers = self.inner.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let inner = &self.inner;
            Arc::new(Consumer::new(inner.api.clone(), inner.stream.clone(), subject.to_owned(), inner.times))
        };
        Arc::clone(consumers.entry(subject.to_owned()).or_insert_with(new))
    }

    fn consumers(&self) -> Vec<Arc<Consumer>> {
        self.inner.consumers.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let refused = |what: &dyn std::fmt::Display| Error::Refused(format!("header {name:?}: {what}"));
        let name: HeaderName = name.parse().map_err(|error| refused(&error))?;
        let value: HeaderValue = value.parse().map_err(|error| refused(&error))?;
        map.append(name, value);
    }
    Ok(map)
}

/// The headers of a received message, sorted by name; values of one name stay in their order.
fn header_list(map: Option<&HeaderMap>) -> Vec<(String, String)> {
    let mut list: Vec<_> = map
        .into_iter()
        .flat_map(HeaderMap::iter)
        .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.to_string())))
        .collect();
    list.sort_by(|left, right| left.0.cmp(&right.0));
    list
}
