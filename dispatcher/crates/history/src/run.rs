//! One row of `job_runs`.

use chrono::{DateTime, Utc};

use super::database::{MaybeText, Text, row};
use job::{Failure, JobRun, Outcome, State, digest};

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// It was handed to the backend.
    Running,
    /// It completed.
    Complete,
    /// It failed for good.
    Failed,
    /// It failed, and the event comes again.
    TryAgain,
    /// A stopping dispatcher handed the event back; it comes again.
    HandedBack,
    /// It failed for good, and an operator has dropped its event.
    Dropped,
}

impl RunState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Complete, Self::Failed, Self::TryAgain, Self::HandedBack, Self::Dropped];

    /// The states that few runs have, so that queries for them are fast, however many runs there are.
    pub const OPEN: &str = "('running', 'failed', 'try_again', 'handed_back', 'dropped')";

    /// The text in the table.
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
}

impl TryFrom<Text> for RunState {
    type Error = String;

    fn try_from(Text(text): Text) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no state of a run"))
    }
}

/// One Job of one event.
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
    /// The NATS subject that it was published on.
    pub nats_subject: String,
    /// The flow key of the event.
    pub flow_key: String,
    /// The name that the event gives to the flow key, or an empty text.
    pub flow_name: String,
    /// How often the event was replayed from the dead letters.
    pub replay: i64,
    /// How often the event was delivered.
    pub deliveries: i64,
    /// Its state.
    pub state: RunState,
    /// Whether a replay of the event has replaced it.
    pub superseded: bool,
    /// When the bus stored the event.
    pub published_at: DateTime<Utc>,
    /// When it was first handed to the backend.
    pub handed_at: DateTime<Utc>,
    /// When its first try started.
    pub started_at: Option<DateTime<Utc>>,
    /// When its end was seen.
    pub ended_at: Option<DateTime<Utc>>,
    /// The number of tries so far.
    pub tries: i64,
    /// Whether the dispatcher that saw its end had not started it.
    pub adopted: bool,
    /// The exit code of the last try.
    pub exit_code: Option<i64>,
    /// The class of its failure, if it failed.
    pub class: Option<String>,
    /// What happened, for operators.
    pub message: Option<String>,
    /// The worker's own result line.
    pub report: Option<String>,
}

row!(Run {
    id: Text = "id",
    trigger: Text = "trigger_name",
    namespace: Text = "namespace",
    job: Text = "job_name",
    image: Text = "image",
    event_hash: Text = "event_hash",
    event_id: Text = "event_id",
    nats_subject: Text = "nats_subject",
    flow_key: Text = "flow_key",
    flow_name: Text = "flow_name",
    replay: i64 = "replay",
    deliveries: i64 = "deliveries",
    state: Text = "state",
    superseded: bool = "superseded",
    published_at: DateTime<Utc> = "published_at",
    handed_at: DateTime<Utc> = "handed_at",
    started_at: Option<DateTime<Utc>> = "started_at",
    ended_at: Option<DateTime<Utc>> = "ended_at",
    tries: i64 = "tries",
    adopted: bool = "adopted",
    exit_code: Option<i64> = "exit_code",
    class: MaybeText = "cause",
    message: MaybeText = "message",
    report: MaybeText = "report",
});

impl Run {
    /// The row for what a dispatcher has seen.
    pub fn of(seen: &JobRun) -> Self {
        let mut run = Self {
            id: id_of(seen),
            trigger: fit(&seen.trigger, 253),
            namespace: fit(&seen.namespace, 63),
            job: fit(&seen.name, 63),
            image: fit(&seen.image, 255),
            event_hash: fit(&seen.event_hash, 32),
            event_id: fit(&seen.event.id, 255),
            nats_subject: fit(&seen.event.nats_subject, 255),
            flow_key: key_of(&seen.event.flow_key),
            flow_name: fit(&seen.event.flow_name, 128),
            replay: count(seen.event.replay),
            deliveries: count(seen.event.delivery),
            state: RunState::Running,
            superseded: false,
            published_at: seen.event.published_at,
            handed_at: seen.handed_at,
            started_at: None,
            ended_at: None,
            tries: 0,
            adopted: false,
            exit_code: None,
            class: None,
            message: None,
            report: None,
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

    fn end(&mut self, outcome: &Outcome) {
        let report = match outcome {
            Outcome::Complete { report } => {
                self.state = RunState::Complete;
                self.exit_code = Some(0);
                report
            }
            Outcome::Failed(Failure { class, exit_code, message, report })
            | Outcome::TryAgain(Failure { class, exit_code, message, report }) => {
                let for_good = matches!(outcome, Outcome::Failed(_));
                self.state = if for_good { RunState::Failed } else { RunState::TryAgain };
                self.exit_code = exit_code.map(i64::from);
                self.class = Some(class.to_string());
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

    /// Whether this report ends what the other one began, in the same delivery.
    pub(super) fn ends(&self, other: &Self) -> bool {
        other.state == RunState::Running
            && (self.published_at, self.deliveries) == (other.published_at, other.deliveries)
    }

    /// Whether this Job belongs to this event.
    pub(super) fn is_for(&self, event_id: &str, published_at: DateTime<Utc>) -> bool {
        self.published_at == published_at && self.event_id == fit(event_id, 255)
    }
}

/// The id of the run that this report is about.
pub(super) fn id_of(seen: &JobRun) -> String {
    let parts = [&seen.trigger, &seen.namespace, &seen.name, &seen.event_hash];
    // Without a Job, only this tells flows apart whose events have the same id.
    let flow = seen.name.is_empty().then_some(&seen.event.flow_key);
    digest(parts.into_iter().chain(flow).map(String::as_bytes))
}

/// A flow key as it is in the tables, without spaces at its ends: MySQL ignores spaces at the end of a key, and
/// headers lose them.
pub fn key_of(text: &str) -> String {
    fit(text.trim(), 128)
}

/// Cut to the size of its column, because publishers can write any text into a header.
fn count(number: impl TryInto<i32>) -> i64 {
    number.try_into().unwrap_or(i32::MAX).into()
}

/// At most `most` characters. A longer text is cut, and ends with a mark that shows this.
pub(super) fn fit(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some(_) => text.chars().take(characters.saturating_sub(1)).chain(['…']).collect(),
    }
}
