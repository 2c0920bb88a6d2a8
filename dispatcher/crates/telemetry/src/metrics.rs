//! The dispatcher's metrics, for Prometheus and for the page. Labels are triggers, subjects and enums, never event
//! text.
//!
//! `monitoring/` has the rules and the dashboard for these metrics, and `OPERATIONS.md` explains each.
//!
//! ```
//! use telemetry::metrics::Metrics;
//!
//! let metrics = Metrics::default();
//! metrics.matched("user-saved-trigger");
//! let running = metrics.running("user-saved-trigger");
//! let line = r#"dispatcher_jobs_running{trigger="user-saved-trigger"}"#;
//! assert!(metrics.text().contains(&format!("{line} 1")));
//! drop(running);
//! assert!(metrics.text().contains(&format!("{line} 0")));
//! ```

mod label;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use chrono::Utc;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use self::label::{Build, Ended, Flows, Known, Lost, StepState, Subject, Trigger};
use shared::event::flow;

pub use label::{JobOutcome, SpansLost};

/// Buckets from 1 ms to 15 min, in seconds.
const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0];

/// All metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    /// Held while the metrics that are filled on demand are filled and encoded.
    turn: Mutex<()>,
    /// The label values in use. Their number is limited, whatever is published.
    known: Known,
    build: Family<Build, Gauge>,
    received: Family<Subject, Counter>,
    redelivered: Family<Subject, Counter>,
    unmatched: Family<Subject, Counter>,
    parked: Family<Subject, Gauge>,
    matched: Family<Trigger, Counter>,
    ended: Family<Ended, Counter>,
    running: Family<Trigger, Gauge>,
    limit: Gauge,
    wait: Family<Trigger, Histogram>,
    run: Family<Trigger, Histogram>,
    dead_letters: Family<Subject, Counter>,
    stored: Gauge,
    waiting: Family<Subject, Gauge>,
    in_flight: Family<Subject, Gauge>,
    steps: Family<StepState, Gauge>,
    flows: Family<Flows, Gauge>,
    last_fetch: Gauge<f64, AtomicU64>,
    bus_up: Gauge,
    backend_up: Gauge,
    history_up: Gauge,
    history_dropped: Counter,
    history_delay: Gauge<f64, AtomicU64>,
    history_ahead: Counter,
    manifests_refused: Gauge,
    spans_sent: Counter,
    spans_lost: Family<Lost, Counter>,
    spans_waiting: Gauge,
}

/// What waits on one subject.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// The subject.
    pub subject: &'a str,
    /// Messages that were not taken yet.
    pub waiting: u64,
    /// Messages taken and not answered.
    pub in_flight: u64,
}

/// Counts a running Job until dropped.
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
            turn: Mutex::default(),
            known: Known::default(),
            build: Family::default(),
            received: Family::default(),
            redelivered: Family::default(),
            unmatched: Family::default(),
            parked: Family::default(),
            matched: Family::default(),
            ended: Family::default(),
            running: Family::default(),
            limit: Gauge::default(),
            wait: Family::new_with_constructor(histogram),
            run: Family::new_with_constructor(histogram),
            dead_letters: Family::default(),
            stored: Gauge::default(),
            waiting: Family::default(),
            in_flight: Family::default(),
            steps: Family::default(),
            flows: Family::default(),
            last_fetch: Gauge::default(),
            bus_up: Gauge::default(),
            backend_up: Gauge::default(),
            history_up: Gauge::default(),
            history_dropped: Counter::default(),
            history_delay: Gauge::default(),
            history_ahead: Counter::default(),
            manifests_refused: Gauge::default(),
            spans_sent: Counter::default(),
            spans_lost: Family::default(),
            spans_waiting: Gauge::default(),
            registry: Registry::default(),
        };
        inner.register(&mut registry);
        Self(Arc::new(Inner { registry, ..inner }))
    }
}

impl Inner {
    /// Every metric with its help text. The encoder adds `_total` to counters, and the unit to names that have one.
    fn register(&self, to: &mut Registry) {
        to.register("build_info", "1; its labels say what runs here", self.build.clone());
        to.register("events_received", "Deliveries taken from the bus", self.received.clone());
        to.register("events_redelivered", "Deliveries that were not the first", self.redelivered.clone());
        to.register("events_unmatched", "Events that no trigger matched", self.unmatched.clone());
        to.register("events_parked", "Events that wait for a trigger that takes them", self.parked.clone());
        to.register("events_matched", "Events that a trigger matched", self.matched.clone());
        to.register("jobs_ended", "Jobs that ended, by outcome", self.ended.clone());
        to.register("jobs_running", "Jobs that run now", self.running.clone());
        to.register("jobs_limit", "Jobs that may run at once", self.limit.clone());
        let (wait, run) = (self.wait.clone(), self.run.clone());
        to.register_with_unit("publish_to_start", "From publishing to the Job's start", Unit::Seconds, wait);
        to.register_with_unit("start_to_end", "From the Job's start to its end", Unit::Seconds, run);
        to.register("dead_letters", "Events given up", self.dead_letters.clone());
        let stored = self.stored.clone();
        to.register(
            "dead_letters_stored",
            "Dead letters that wait for an operator to replay or drop them",
            stored,
        );
        to.register("bus_up", "1 while the bus answers", self.bus_up.clone());
        to.register("backend_up", "1 while a Job could be started", self.backend_up.clone());
        to.register("history_up", "1 while the history is written and can be read", self.history_up.clone());
        let dropped = self.history_dropped.clone();
        to.register("history_dropped", "Runs of this dispatcher that are missing in the history", dropped);
        let (delay, ahead) = (self.history_delay.clone(), self.history_ahead.clone());
        to.register_with_unit(
            "history_delay",
            "How long the oldest run waits for the database",
            Unit::Seconds,
            delay,
        );
        to.register("history_ahead", "Events acknowledged before their runs were stored", ahead);
        to.register("bus_waiting", "Messages that wait in the bus", self.waiting.clone());
        to.register("bus_in_flight", "Messages taken and not answered", self.in_flight.clone());
        to.register("step_events", "Events of a step, of all dispatchers, by state", self.steps.clone());
        to.register(flow::METRIC.0, flow::METRIC.1, self.flows.clone());
        let (fetched, refused) = (self.last_fetch.clone(), self.manifests_refused.clone());
        to.register("last_fetch_timestamp_seconds", "Time of the last answered fetch", fetched);
        to.register("manifests_refused", "1 while the newest manifests are refused", refused);
        to.register("spans_sent", "Spans that the collector has taken", self.spans_sent.clone());
        let lost = self.spans_lost.clone();
        to.register("spans_lost", "Spans that the collector never gets, by reason", lost);
        to.register("spans_waiting", "Spans that wait for the collector", self.spans_waiting.clone());
    }

    fn subject(&self, name: &str) -> Subject {
        Subject { subject: self.known.bounded(name) }
    }

    fn trigger(&self, name: &str) -> Trigger {
        Trigger { trigger: self.known.bounded(name) }
    }
}

impl Metrics {
    /// Information about this dispatcher.
    pub fn build(&self, bus: &'static str, backend: &'static str) {
        let build = Build { version: env!("CARGO_PKG_VERSION"), bus, backend };
        self.0.build.get_or_create(&build).set(1);
    }

    /// How many Jobs may run at once.
    pub fn jobs_limit(&self, limit: usize) {
        self.0.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    /// Starts these counters at zero. If a counter only appeared with its first count, Prometheus would see no
    /// increase.
    pub fn expect(
        &self,
        subjects: impl IntoIterator<Item = String>,
        triggers: impl IntoIterator<Item = String>,
    ) {
        for subject in subjects {
            let label = self.0.subject(&subject);
            drop(self.0.parked.get_or_create(&label));
            for family in [&self.0.received, &self.0.redelivered, &self.0.unmatched, &self.0.dead_letters] {
                drop(family.get_or_create(&label));
            }
        }
        for reason in SpansLost::ALL {
            drop(self.0.spans_lost.get_or_create(&Lost { reason }));
        }
        for trigger in triggers {
            let label = self.0.trigger(&trigger);
            drop(self.0.matched.get_or_create(&label));
            drop(self.0.running.get_or_create(&label));
            drop(self.0.wait.get_or_create(&label));
            drop(self.0.run.get_or_create(&label));
            for outcome in JobOutcome::ALL {
                drop(self.0.ended.get_or_create(&Ended { trigger: label.trigger.clone(), outcome }));
            }
        }
    }

    /// A delivery was taken.
    pub fn received(&self, subject: &str, again: bool) {
        let label = self.0.subject(subject);
        self.0.received.get_or_create(&label).inc();
        if again {
            self.0.redelivered.get_or_create(&label).inc();
        }
    }

    /// No trigger matched.
    pub fn unmatched(&self, subject: &str) {
        self.0.unmatched.get_or_create(&self.0.subject(subject)).inc();
    }

    /// Sets how many events of each subject wait for a trigger.
    pub fn parked(&self, counts: &BTreeMap<String, u64>) {
        self.0.parked.clear();
        for (subject, count) in counts {
            let gauge = self.0.parked.get_or_create(&self.0.subject(subject)).clone();
            gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }

    /// A trigger matched an event.
    pub fn matched(&self, trigger: &str) {
        self.0.matched.get_or_create(&self.0.trigger(trigger)).inc();
    }

    /// A Job starts; it counts as running until the result is dropped.
    pub fn running(&self, trigger: &str) -> Running {
        let gauge = self.0.running.get_or_create(&self.0.trigger(trigger)).clone();
        gauge.inc();
        Running(gauge)
    }

    /// A Job ended.
    pub fn job_ended(&self, trigger: &str, outcome: JobOutcome) {
        self.0.ended.get_or_create(&Ended { trigger: self.0.known.bounded(trigger), outcome }).inc();
    }

    /// How often Jobs of a trigger ended this way.
    pub fn jobs_ended(&self, trigger: &str, outcome: JobOutcome) -> u64 {
        self.0.ended.get_or_create(&Ended { trigger: self.0.known.bounded(trigger), outcome }).get()
    }

    /// How many Jobs of a trigger are running.
    pub fn jobs_running(&self, trigger: &str) -> i64 {
        self.0.running.get_or_create(&self.0.trigger(trigger)).get()
    }

    /// Records how long a Job waited and ran.
    pub fn took(&self, trigger: &str, waited: Option<Duration>, ran: Option<Duration>) {
        let label = self.0.trigger(trigger);
        if let Some(waited) = waited {
            self.0.wait.get_or_create(&label).observe(waited.as_secs_f64());
        }
        if let Some(ran) = ran {
            self.0.run.get_or_create(&label).observe(ran.as_secs_f64());
        }
    }

    /// A fetch was answered.
    pub fn fetched(&self) {
        // A double holds whole milliseconds exactly for 285,000 years.
        #[expect(clippy::cast_precision_loss)]
        self.0.last_fetch.set(Utc::now().timestamp_millis() as f64 / 1000.0);
    }

    /// An event became a dead letter.
    pub fn dead_lettered(&self, subject: &str) {
        self.0.dead_letters.get_or_create(&self.0.subject(subject)).inc();
    }

    /// Sets what waits in the bus and how many dead letters there are, read when somebody asks. `None`: the bus did
    /// not answer, so the old values are removed.
    pub fn bus<'a>(&self, answer: Option<(impl IntoIterator<Item = Waiting<'a>>, u64)>) {
        self.0.bus_up.set(answer.is_some().into());
        let Some((backlog, stored)) = answer else {
            self.0.waiting.clear();
            self.0.in_flight.clear();
            return;
        };
        self.0.stored.set(i64::try_from(stored).unwrap_or(i64::MAX));
        for one in backlog {
            let label = self.0.subject(one.subject);
            self.0.waiting.get_or_create(&label).set(i64::try_from(one.waiting).unwrap_or(i64::MAX));
            self.0.in_flight.get_or_create(&label).set(i64::try_from(one.in_flight).unwrap_or(i64::MAX));
        }
    }

    /// Sets the state of the flow, as trigger, state and count, and as stage and count. The page and `status` show
    /// the same.
    pub fn set_flow_counts<'a, 'b>(
        &self,
        steps: impl IntoIterator<Item = (&'a str, &'a str, u64)>,
        stages: impl IntoIterator<Item = (&'b str, u64)>,
    ) {
        self.0.steps.clear();
        self.0.flows.clear();
        let word = |text: &str| text.replace(' ', "_");
        let gauge = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        for (trigger, state, amount) in steps {
            let label = StepState { trigger: self.0.known.bounded(trigger), state: word(state) };
            self.0.steps.get_or_create(&label).set(gauge(amount));
        }
        for (stage, amount) in stages {
            self.0.flows.get_or_create(&Flows { stage: word(stage) }).set(gauge(amount));
        }
    }

    /// Sets whether a Job could be started now.
    pub fn backend(&self, up: bool) {
        self.0.backend_up.set(up.into());
    }

    /// Sets whether the history is written and can be read, how late it is, how many runs were lost to it so far, and
    /// how many events were acknowledged without waiting for it.
    pub fn history(&self, up: bool, delay: Duration, dropped: u64, ahead: u64) {
        self.0.history_up.set(up.into());
        self.0.history_delay.set(delay.as_secs_f64());
        self.0.history_ahead.inc_by(ahead.saturating_sub(self.0.history_ahead.get()));
        self.0.history_dropped.inc_by(dropped.saturating_sub(self.0.history_dropped.get()));
    }

    /// Sets whether the newest manifests are refused.
    pub fn manifests_refused(&self, refused: bool) {
        self.0.manifests_refused.set(refused.into());
    }

    /// The collector accepted spans.
    pub fn spans_sent(&self, count: usize) {
        self.0.spans_sent.inc_by(count as u64);
    }

    /// Spans were lost.
    pub fn spans_lost(&self, reason: SpansLost, count: usize) {
        self.0.spans_lost.get_or_create(&Lost { reason }).inc_by(count as u64);
    }

    /// Sets how many spans wait.
    pub fn spans_waiting(&self, count: usize) {
        self.0.spans_waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The text after `fill` has set the values that are only read on demand. One call at a time, because some values
    /// are cleared first.
    pub fn told(&self, fill: impl FnOnce(&Self)) -> String {
        let _turn = self.0.turn.lock();
        fill(self);
        self.text()
    }

    /// All metrics in the `OpenMetrics` text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.0.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}
