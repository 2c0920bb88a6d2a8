//! The bus on NATS `JetStream`: one stream, or those that the Secret `sveltos-nats` names; one durable pull consumer
//! for each subject, shared by all replicas; and one more stream for the dead letters.
//!
//! Speaks the `JetStream` API in JSON rather than through typed configurations, so that settings of a newer server or
//! an operator survive an update of the stream.

mod acker;
mod api;
mod attempts;
mod connect;
mod consumer;
mod dead_letters;
mod pull;
mod quarantine;
mod search;
mod stream;
mod streams;
mod sveltos;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

use super::budget::Budget;
use super::dead_letter::Letter;
use super::fetch_health::FetchHealth;
use super::{Backlog, Delivery, Error, Health, Message, Receipt, Result, Settings};
use acker::Acker;
use api::Api;
use consumer::Consumer;
use pull::Times;
use streams::Streams;

/// How long the last look at the streams counts. People remove streams and subjects, and two dispatchers that add
/// subjects at the same time may undo each other's change. After a failed fetch, or when the server reports a change,
/// the streams are looked at earlier.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// A connection to one stream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JetStream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    api: Api,
    streams: Streams,
    times: Times,
    /// Subjects that the settings list in addition to those of the manifests.
    listed: BTreeSet<String>,
    /// Subjects that this process has asked for. They are added again if somebody removes them.
    subjects: Mutex<BTreeSet<String>>,
    last_look: Mutex<Option<Look>>,
    /// When the streams were last thought to have changed. What was looked at before that does not count.
    changed: Mutex<Option<Instant>>,
    /// Set when this process hears of changes of the streams.
    listens: OnceCell<()>,
    fetches: FetchHealth,
    budget: Budget,
    /// For each subject that this process has ensured or fetched.
    consumers: Mutex<BTreeMap<String, Arc<Consumer>>>,
}

/// The subjects that the streams took at one time.
#[derive(Debug)]
struct Look {
    at: Instant,
    /// The number of the connection, see [`Api::connects`].
    connection: u64,
    subjects: BTreeSet<String>,
}

impl JetStream {
    pub(super) async fn open(settings: &Settings) -> Result<Self> {
        let settings = &*sveltos::applied(settings)?;
        let streams = Streams::from_settings(settings)?;
        let api = connect::connect(settings).await?;
        streams.check(&api).await?;
        let times = Times { lease: settings.lease, heartbeat: settings.heartbeat };
        let listed = settings.subjects.iter().cloned().collect();
        let inner = Inner {
            api,
            streams,
            times,
            listed,
            subjects: Mutex::default(),
            last_look: Mutex::default(),
            changed: Mutex::default(),
            listens: OnceCell::default(),
            fetches: FetchHealth::default(),
            budget: Budget::default(),
            consumers: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) async fn ensure_subjects(&self, subjects: &BTreeSet<String>) -> Result<()> {
        let subjects = subjects | &self.inner.listed;
        if self.has_looked_at(&subjects) {
            return Ok(());
        }
        self.listen().await?;
        self.look(&subjects).await?;
        self.inner.streams.home.ensure_dead_letters(&self.inner.api).await?;
        self.wanted().extend(subjects);
        Ok(())
    }

    pub(super) async fn subjects(&self) -> Result<Vec<String>> {
        if self.has_looked_at(&BTreeSet::new()) {
            return Ok(self.inner.streams.kept());
        }
        self.inner.streams.subjects(&self.inner.api).await
    }

    pub(super) async fn fetch(&self, subject: &str, max: usize) -> Result<Vec<Delivery>> {
        let fetched = self.fetch_from_its_stream(subject, max).await;
        if fetched.as_ref().is_err_and(Error::try_again) && self.inner.api.connected() {
            // Somebody may have removed the stream.
            self.forget_look();
            self.repair().await?;
        }
        fetched
    }

    async fn fetch_from_its_stream(&self, subject: &str, max: usize) -> Result<Vec<Delivery>> {
        let asked = self.inner.fetches.begin(subject);
        let consumer = self.consumer(subject).await;
        asked.ended(false); // an answer to the fetch itself is still to come
        consumer?.fetch(max, &self.inner.budget, &self.inner.fetches).await
    }

    pub(super) async fn publish(&self, message: Message) -> Result<Receipt> {
        let headers = header_map(&message.checked_headers()?)?;
        self.check_kept(&message.subject).await?;
        let stored = self.inner.api.publish(&message.subject, headers, message.payload).await;
        let stored = stored.inspect_err(|_| self.forget_look())?;
        Ok(Receipt { sequence: stored.sequence, duplicate: stored.duplicate })
    }

    /// Refuses a subject that no stream of ours takes, before anybody else could receive the message.
    async fn check_kept(&self, subject: &str) -> Result<()> {
        if subject.starts_with(&self.inner.streams.home.dead_letter_subject("")) {
            return Err(Error::Refused(format!(
                "{subject} is a subject of dead letters, which the dispatcher alone makes"
            )));
        }
        let streams = &self.inner.streams;
        if streams.takes(subject) {
            return Ok(());
        }
        streams.subjects(&self.inner.api).await?;
        if streams.takes(subject) {
            return Ok(());
        }
        let ours: Vec<_> = streams.all().map(|stream| stream.name.as_str()).collect();
        Err(match stream::name_of(&self.inner.api, subject).await? {
            Some(other) if !ours.contains(&other.as_str()) => Error::Configuration(format!(
                "subject {subject} belongs to the NATS stream {other}, not to {}: take it out of that stream, or set NATS_STREAM",
                ours.join(", ")
            )),
            _ => Error::Unavailable(format!(
                "no stream takes subject {subject}: no manifest of a dispatcher names it, or none runs yet"
            )),
        })
    }

    pub(super) async fn dead_letter(&self, letter: Letter) -> Result<()> {
        dead_letters::store(&self.inner.api, &self.inner.streams.home, letter).await
    }

    pub(super) async fn missing(
        &self,
        subject: &str,
        since: DateTime<Utc>,
        ids: BTreeSet<String>,
    ) -> Result<BTreeSet<String>> {
        let api = &self.inner.api;
        let stream = self.inner.streams.of(api, subject).await?;
        search::missing(api, &stream.name, subject, since, ids).await
    }

    pub(super) async fn record_attempts(&self, delivery: &Delivery, attempts: u64) -> Result<()> {
        let api = &self.inner.api;
        let stream = self.inner.streams.of(api, &delivery.subject).await?;
        attempts::note(api, stream, delivery, attempts).await
    }

    pub(super) async fn backlog(&self) -> Result<Vec<Backlog>> {
        let mut all = Vec::new();
        for stream in self.inner.streams.all() {
            all.extend(consumer::backlog(&self.inner.api, &stream.name).await?);
        }
        all.sort_by(|left, right| left.subject.cmp(&right.subject));
        Ok(all)
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

    /// Adds the subjects that this process wants if they are gone.
    async fn repair(&self) -> Result<()> {
        let wanted = self.wanted().clone();
        if !self.has_looked_at(&wanted) {
            return self.look(&wanted).await;
        }
        if self.inner.api.connected() { Ok(()) } else { Err(self.inner.api.disconnected()) }
    }

    async fn look(&self, subjects: &BTreeSet<String>) -> Result<()> {
        let inner = &self.inner;
        let look = Look { at: Instant::now(), connection: inner.api.connects(), subjects: subjects.clone() };
        inner.streams.ensure(&inner.api, subjects).await?;
        *self.last_look() = Some(look);
        Ok(())
    }

    /// Listens to the server's reports of changed streams. Without the right to hear them, changes are found within a
    /// minute.
    async fn listen(&self) -> Result<()> {
        self.inner.listens.get_or_try_init(|| self.subscribe_to_changes()).await.copied()
    }

    async fn subscribe_to_changes(&self) -> Result<()> {
        let mut reports = Vec::new();
        for stream in self.inner.streams.all() {
            reports
                .push(self.inner.api.listen(format!("$JS.EVENT.ADVISORY.STREAM.*.{}", stream.name)).await?);
        }
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let mut reports = futures_util::stream::select_all(reports);
            while reports.next().await.is_some() {
                let Some(inner) = inner.upgrade() else { return };
                Self { inner }.forget_look();
            }
        });
        Ok(())
    }

    fn has_looked_at(&self, subjects: &BTreeSet<String>) -> bool {
        let connection = self.inner.api.connects();
        self.last_look().as_ref().is_some_and(|look| {
            look.at.elapsed() < LOOK_AGAIN
                && self.changed().is_none_or(|changed| look.at > changed)
                && look.connection == connection
                && look.subjects.is_superset(subjects)
        })
    }

    fn forget_look(&self) {
        *self.changed() = Some(Instant::now());
    }

    fn changed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.inner.changed.lock()
    }

    fn last_look(&self) -> MutexGuard<'_, Option<Look>> {
        self.inner.last_look.lock()
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.inner.subjects.lock()
    }

    async fn consumer(&self, subject: &str) -> Result<Arc<Consumer>> {
        let inner = &self.inner;
        let stream = inner.streams.of(&inner.api, subject).await?;
        let mut consumers = inner.consumers.lock();
        let known = consumers.get(subject).filter(|consumer| consumer.stream() == stream.name);
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        let (stream, letters) = (stream.clone(), inner.streams.home.clone());
        let new = Consumer::new(inner.api.clone(), stream, letters, subject.to_owned(), inner.times);
        let new = Arc::new(new);
        consumers.insert(subject.to_owned(), Arc::clone(&new));
        Ok(new)
    }

    fn consumers(&self) -> Vec<Arc<Consumer>> {
        self.inner.consumers.lock().values().cloned().collect()
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
