//! One row of `job_runs`, and how a newer word about the same run is laid over an older one.

use chrono::{DateTime, Utc};
use shared::database::{Row, Value};
use shared::error::{Error, Result};

use crate::backend::Outcome;
use crate::digest::digest;
use crate::observer::{JobRun, State};

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// The backend has it.
    Running,
    /// Done.
    Complete,
    /// Failed for good.
    Failed,
    /// Failed; the event comes again.
    TryAgain,
    /// Given back by a dispatcher that stopped; the event comes again.
    HandedBack,
    /// Failed for good, and an operator has dropped its event.
    Dropped,
}

impl RunState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Complete, Self::Failed, Self::TryAgain, Self::HandedBack, Self::Dropped];

    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::TryAgain => "try_again",
            Self::HandedBack => "handed_back",
            Self::Dropped => "dropped",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| Error::bug(format!("{text:?} is no state of a run")))
    }
}

/// One Job for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// A digest of trigger, namespace, Job and event.
    pub id: String,
    /// The EventTrigger's name.
    pub trigger: String,
    /// The Job's namespace.
    pub namespace: String,
    /// The Job's name.
    pub job: String,
    /// The image of its first container.
    pub image: String,
    /// The identity of the event, as on the Job's label.
    pub event_hash: String,
    /// The event's `id`.
    pub event_id: String,
    /// Where it was published.
    pub nats_subject: String,
    /// Whom it is about.
    pub customer: String,
    /// How often the event came back from the dead letters.
    pub replay: i64,
    /// How often the event was delivered.
    pub deliveries: i64,
    /// How far it has come.
    pub state: RunState,
    /// A replay of the event has taken its place.
    pub superseded: bool,
    /// When the bus took the event.
    pub published_at: DateTime<Utc>,
    /// When it was handed to the backend first.
    pub handed_at: DateTime<Utc>,
    /// When its first try started.
    pub started_at: Option<DateTime<Utc>>,
    /// When its end was seen.
    pub ended_at: Option<DateTime<Utc>>,
    /// The last sign of life of a dispatcher that follows it.
    pub seen_at: DateTime<Utc>,
    /// Tries so far.
    pub tries: i64,
    /// The dispatcher that saw its end had not started it.
    pub adopted: bool,
    /// The exit code of the last try.
    pub exit_code: Option<i64>,
    /// Which rule ended it, where it failed.
    pub cause: Option<String>,
    /// What happened, for people.
    pub message: Option<String>,
    /// The worker's own result line.
    pub report: Option<String>,
}

pub(super) const COLUMNS: &str = "id, trigger_name, namespace, job_name, image, event_hash, event_id, nats_subject, \
    customer_id, replay, deliveries, state, superseded, published_at, handed_at, started_at, ended_at, seen_at, tries, \
    adopted, exit_code, cause, message, report";

impl Run {
    /// What a dispatcher has seen, as a row.
    pub(super) fn of(seen: &JobRun, now: DateTime<Utc>) -> Self {
        let mut run = Self {
            id: id_of(seen),
            trigger: fit(&seen.trigger, 253),
            namespace: fit(&seen.namespace, 63),
            job: fit(&seen.name, 63),
            image: fit(&seen.image, 255),
            event_hash: fit(&seen.event_hash, 32),
            event_id: fit(&seen.cause.id, 255),
            nats_subject: fit(&seen.cause.nats_subject, 255),
            customer: customer_key(&seen.cause.customer),
            replay: count(seen.cause.replay),
            deliveries: count(seen.cause.attempt),
            published_at: seen.cause.published_at,
            handed_at: seen.handed_at,
            ..Self::begun(now)
        };
        if let State::Ended { started_at, ended_at, tries, adopted, outcome, .. } = &seen.state {
            run.started_at = *started_at;
            run.ended_at = Some(*ended_at);
            run.tries = count(*tries);
            run.adopted = *adopted;
            run.end(outcome);
        }
        run
    }

    /// Of nothing yet, and just begun.
    pub(super) const fn begun(now: DateTime<Utc>) -> Self {
        Self {
            id: String::new(),
            trigger: String::new(),
            namespace: String::new(),
            job: String::new(),
            image: String::new(),
            event_hash: String::new(),
            event_id: String::new(),
            nats_subject: String::new(),
            customer: String::new(),
            replay: 0,
            deliveries: 0,
            state: RunState::Running,
            superseded: false,
            published_at: now,
            handed_at: now,
            started_at: None,
            ended_at: None,
            seen_at: now,
            tries: 0,
            adopted: false,
            exit_code: None,
            cause: None,
            message: None,
            report: None,
        }
    }

    fn end(&mut self, outcome: &Outcome) {
        let report = match outcome {
            Outcome::Complete { report } => {
                self.state = RunState::Complete;
                self.exit_code = Some(0);
                report
            }
            Outcome::Failed { cause, exit_code, message, report }
            | Outcome::TryAgain { cause, exit_code, message, report } => {
                let for_good = matches!(outcome, Outcome::Failed { .. });
                self.state = if for_good { RunState::Failed } else { RunState::TryAgain };
                self.exit_code = exit_code.map(i64::from);
                self.cause = Some(cause.to_string());
                self.message = Some(fit(message, 1024));
                report
            }
            Outcome::Stopped => {
                self.state = RunState::HandedBack;
                return;
            }
        };
        self.report = Some(fit(report.as_str(), 4096)).filter(|report| !report.is_empty());
    }

    /// A newer word about this run. The same delivery's end is its last word; a later delivery begins it anew.
    #[must_use]
    pub(super) fn then(self, newer: Self) -> Self {
        let old_news = newer.state == RunState::Running
            && self.state != RunState::Running
            && newer.deliveries <= self.deliveries;
        // Complete is complete, whatever a later delivery says: it adopts the same Job.
        if old_news || (self.state == RunState::Complete && newer.state != RunState::Complete) {
            return Self { seen_at: self.seen_at.max(newer.seen_at), ..self };
        }
        Self {
            handed_at: self.handed_at.min(newer.handed_at),
            published_at: self.published_at.min(newer.published_at),
            started_at: newer.started_at.or(self.started_at),
            deliveries: newer.deliveries.max(self.deliveries),
            tries: newer.tries.max(self.tries),
            superseded: self.superseded || newer.superseded,
            exit_code: newer.exit_code.or(self.exit_code),
            cause: newer.cause.or(self.cause.filter(|_| newer.state != RunState::Complete)),
            message: newer.message.or(self.message.filter(|_| newer.state != RunState::Complete)),
            report: newer.report.or(self.report),
            ..newer
        }
    }

    pub(super) fn values(&self) -> Vec<Value<'_>> {
        let text = |text: &'_ Option<String>| -> Value<'static> {
            text.clone().map_or(Value::Null, |text| Value::Text(text.into()))
        };
        vec![
            self.id.as_str().into(),
            self.trigger.as_str().into(),
            self.namespace.as_str().into(),
            self.job.as_str().into(),
            self.image.as_str().into(),
            self.event_hash.as_str().into(),
            self.event_id.as_str().into(),
            self.nats_subject.as_str().into(),
            self.customer.as_str().into(),
            self.replay.into(),
            self.deliveries.into(),
            self.state.as_str().into(),
            i64::from(self.superseded).into(),
            self.published_at.into(),
            self.handed_at.into(),
            self.started_at.into(),
            self.ended_at.into(),
            self.seen_at.into(),
            self.tries.into(),
            i64::from(self.adopted).into(),
            self.exit_code.into(),
            text(&self.cause),
            text(&self.message),
            text(&self.report),
        ]
    }

    pub(super) fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.text(0)?,
            trigger: row.text(1)?,
            namespace: row.text(2)?,
            job: row.text(3)?,
            image: row.text(4)?,
            event_hash: row.text(5)?,
            event_id: row.text(6)?,
            nats_subject: row.text(7)?,
            customer: row.text(8)?,
            replay: row.integer(9)?,
            deliveries: row.integer(10)?,
            state: RunState::parse(&row.text(11)?)?,
            superseded: row.integer(12)? != 0,
            published_at: row.time(13)?,
            handed_at: row.time(14)?,
            started_at: row.optional_time(15)?,
            ended_at: row.optional_time(16)?,
            seen_at: row.time(17)?,
            tries: row.integer(18)?,
            adopted: row.integer(19)? != 0,
            exit_code: row.optional_integer(20)?,
            cause: row.optional_text(21)?,
            message: row.optional_text(22)?,
            report: row.optional_text(23)?,
        })
    }
}

/// The id of the run that this tells of.
pub(super) fn id_of(seen: &JobRun) -> String {
    let parts = [&seen.trigger, &seen.namespace, &seen.name, &seen.event_hash];
    // Without a Job nothing else tells customers apart whose events have one id.
    let customer = seen.name.is_empty().then_some(&seen.cause.customer);
    digest(parts.into_iter().chain(customer).map(String::as_bytes))
}

/// Whom a run is about, as the tables call them. Without spaces at its ends: to MySQL they are no difference at the end of a
/// key, and headers lose them.
pub(super) fn customer_key(customer: &str) -> String {
    fit(customer.trim(), 128)
}

/// As large as its column takes: publishers write what they like into a header.
fn count(number: impl TryInto<i32>) -> i64 {
    number.try_into().unwrap_or(i32::MAX).into()
}

/// At most so many characters: what does not fit a column is cut, and ends in a mark that says so.
pub(super) fn fit(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some(_) => text.chars().take(characters.saturating_sub(1)).chain(['…']).collect(),
    }
}
