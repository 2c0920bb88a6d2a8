//! What the dispatcher counts, in Prometheus' terms and for the page. Labels are triggers, subjects and enums, never event text.

mod recent;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use chrono::Utc;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::backend::{Outcome, Ran};
use crate::bus::Backlog;
use crate::engine::verdict::Why;
use crate::plan::IncomingEvent;

pub use recent::{Failure, Recent};

/// Seconds from 1 ms to 15 min.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Subject {
    subject: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Trigger {
    trigger: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    trigger: String,
    outcome: JobOutcome,
}

/// How a trigger's Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobOutcome {
    /// Done.
    Complete,
    /// Failed for good.
    Failed,
    /// Failed, to be tried again.
    TryAgain,
    /// Handed back by a stopping dispatcher.
    Stopped,
    /// Could not be planned.
    Refused,
    /// Nothing to do: no action, or a dry run.
    Skipped,
}

impl JobOutcome {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::TryAgain => "try_again",
            Self::Stopped => "stopped",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
        }
    }

    /// Of a Job that was taken to its end.
    pub const fn of(ran: &Ran) -> Self {
        match ran.outcome {
            Outcome::Complete { .. } => Self::Complete,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::TryAgain { .. } => Self::TryAgain,
            Outcome::Stopped => Self::Stopped,
        }
    }
}

impl EncodeLabelValue for JobOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

/// All counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    received: Family<Subject, Counter>,
    redelivered: Family<Subject, Counter>,
    unmatched: Family<Subject, Counter>,
    matched: Family<Trigger, Counter>,
    ended: Family<Ended, Counter>,
    running: Family<Trigger, Gauge>,
    wait: Family<Trigger, Histogram>,
    run: Family<Trigger, Histogram>,
    dead_letters: Family<Subject, Counter>,
    waiting: Family<Subject, Gauge>,
    in_flight: Family<Subject, Gauge>,
    last_fetch: Gauge<f64, AtomicU64>,
    manifests_refused: Gauge,
    recent: Recent,
}

/// A Job that runs, until dropped.
#[derive(Debug)]
pub struct Running(Gauge<i64, AtomicI64>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("dispatcher");
        let inner = Inner {
            received: Family::default(),
            redelivered: Family::default(),
            unmatched: Family::default(),
            matched: Family::default(),
            ended: Family::default(),
            running: Family::default(),
            wait: Family::new_with_constructor(histogram),
            run: Family::new_with_constructor(histogram),
            dead_letters: Family::default(),
            waiting: Family::default(),
            in_flight: Family::default(),
            last_fetch: Gauge::default(),
            manifests_refused: Gauge::default(),
            recent: Recent::default(),
            registry: Registry::default(),
        };
        registry.register("events_received", "Deliveries taken from the bus", inner.received.clone());
        registry.register(
            "events_redelivered",
            "Deliveries that were not the first",
            inner.redelivered.clone(),
        );
        registry.register("events_unmatched", "Events that no trigger matched", inner.unmatched.clone());
        registry.register("events_matched", "Events that a trigger matched", inner.matched.clone());
        registry.register("jobs_ended", "Jobs that ended, by outcome", inner.ended.clone());
        registry.register("jobs_running", "Jobs that run now", inner.running.clone());
        let (wait, run) = (inner.wait.clone(), inner.run.clone());
        registry.register_with_unit(
            "publish_to_start",
            "From publishing to the Job's start",
            Unit::Seconds,
            wait,
        );
        registry.register_with_unit("start_to_end", "From the Job's start to its end", Unit::Seconds, run);
        registry.register("dead_letters", "Events given up", inner.dead_letters.clone());
        registry.register("bus_waiting", "Messages that wait in the bus", inner.waiting.clone());
        registry.register("bus_in_flight", "Messages taken and not answered", inner.in_flight.clone());
        let (fetched, refused) = (inner.last_fetch.clone(), inner.manifests_refused.clone());
        registry.register("last_fetch_timestamp_seconds", "When a fetch last had an answer", fetched);
        registry.register("manifests_refused", "1 while the newest manifests are refused", refused);
        Self(Arc::new(Inner { registry, ..inner }))
    }
}

impl Metrics {
    /// A delivery was taken.
    pub fn received(&self, subject: &str, again: bool) {
        let label = Subject { subject: subject.to_owned() };
        self.0.received.get_or_create(&label).inc();
        if again {
            self.0.redelivered.get_or_create(&label).inc();
        }
    }

    /// No trigger matched.
    pub fn unmatched(&self, subject: &str) {
        self.0.unmatched.get_or_create(&Subject { subject: subject.to_owned() }).inc();
    }

    /// A trigger matched.
    pub fn matched(&self, trigger: &str) {
        self.0.matched.get_or_create(&Trigger { trigger: trigger.to_owned() }).inc();
    }

    /// A Job starts; it runs until the answer is dropped.
    pub fn running(&self, trigger: &str) -> Running {
        let gauge = self.0.running.get_or_create(&Trigger { trigger: trigger.to_owned() }).clone();
        gauge.inc();
        Running(gauge)
    }

    /// A Job ended.
    pub fn job_ended(&self, trigger: &str, outcome: JobOutcome) {
        self.0.ended.get_or_create(&Ended { trigger: trigger.to_owned(), outcome }).inc();
    }

    /// How often a trigger's Jobs ended this way.
    pub fn jobs_ended(&self, trigger: &str, outcome: JobOutcome) -> u64 {
        self.0.ended.get_or_create(&Ended { trigger: trigger.to_owned(), outcome }).get()
    }

    /// How many Jobs of a trigger run now.
    pub fn jobs_running(&self, trigger: &str) -> i64 {
        self.0.running.get_or_create(&Trigger { trigger: trigger.to_owned() }).get()
    }

    /// How long a Job waited and ran.
    pub fn took(&self, trigger: &str, waited: Option<Duration>, ran: Option<Duration>) {
        let label = Trigger { trigger: trigger.to_owned() };
        if let Some(waited) = waited {
            self.0.wait.get_or_create(&label).observe(waited.as_secs_f64());
        }
        if let Some(ran) = ran {
            self.0.run.get_or_create(&label).observe(ran.as_secs_f64());
        }
    }

    /// A fetch had an answer.
    pub fn fetched(&self) {
        // Whole milliseconds are exact in a double for 285,000 years.
        #[expect(clippy::cast_precision_loss)]
        self.0.last_fetch.set(Utc::now().timestamp_millis() as f64 / 1000.0);
    }

    /// An event did not end well; with a delay it is tried again.
    pub fn failure(&self, subject: &str, event: Option<&IncomingEvent>, why: &Why, again: Option<Duration>) {
        self.0.recent.push(Failure {
            at: Utc::now(),
            subject: subject.to_owned(),
            event_id: event.map(|event| event.id().to_owned()).unwrap_or_default(),
            class: why.class.clone(),
            reason: why.reason.clone(),
            again,
        });
    }

    /// An event was given up.
    pub fn dead_lettered(&self, subject: &str) {
        self.0.dead_letters.get_or_create(&Subject { subject: subject.to_owned() }).inc();
    }

    /// What waits in the bus, asked for when somebody looks.
    pub fn backlog(&self, backlog: &[Backlog]) {
        for one in backlog {
            let label = Subject { subject: one.subject.clone() };
            self.0.waiting.get_or_create(&label).set(i64::try_from(one.waiting).unwrap_or(i64::MAX));
            self.0.in_flight.get_or_create(&label).set(i64::try_from(one.in_flight).unwrap_or(i64::MAX));
        }
    }

    /// Whether the newest manifests are refused.
    pub fn manifests_refused(&self, refused: bool) {
        self.0.manifests_refused.set(refused.into());
    }

    /// The last failures.
    pub fn recent(&self) -> &Recent {
        &self.0.recent
    }

    /// All in the `OpenMetrics` text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.0.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_appear_under_their_conventional_names() {
        let metrics = Metrics::default();
        metrics.received("customer-saved", true);
        metrics.job_ended("customer-saved-trigger", JobOutcome::TryAgain);
        metrics.took("customer-saved-trigger", Some(Duration::from_millis(3)), None);
        let running = metrics.running("customer-saved-trigger");
        let text = metrics.text();
        for line in [
            "dispatcher_events_received_total{subject=\"customer-saved\"} 1",
            "dispatcher_events_redelivered_total{subject=\"customer-saved\"} 1",
            "dispatcher_jobs_ended_total{trigger=\"customer-saved-trigger\",outcome=\"try_again\"} 1",
            "dispatcher_publish_to_start_seconds_count{trigger=\"customer-saved-trigger\"} 1",
            "dispatcher_jobs_running{trigger=\"customer-saved-trigger\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        drop(running);
        assert!(metrics.text().contains("dispatcher_jobs_running{trigger=\"customer-saved-trigger\"} 0"));
    }
}
