//! Reads a try from the labels and the state of its container. The engine keeps the only record.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use chrono::{DateTime, Utc};

use super::super::adoption::Known;
use super::super::policy::{self, Exit, Next};
use super::super::{EndedJobPolicy, FailureClass, Outcome, Report, Try};
use super::client::cut;
use rules::plan::{EVENT_LABEL, IDENTITY_LABEL, JobSpec, PlannedJob};

pub(super) const SCOPE_LABEL: &str = "dispatcher.knapscen.disco/scope";
pub(super) const TTL_LABEL: &str = "dispatcher.knapscen.disco/ttl-seconds";
const TRIGGER_LABEL: &str = "dispatcher.knapscen.disco/trigger";
const EVENT_ID_LABEL: &str = "dispatcher.knapscen.disco/event-id";
pub(super) const NAMESPACE_LABEL: &str = "dispatcher.knapscen.disco/namespace";
pub(super) const NAME_LABEL: &str = "dispatcher.knapscen.disco/name";
const TRY_LABEL: &str = "dispatcher.knapscen.disco/try";
const FAILURES_LABEL: &str = "dispatcher.knapscen.disco/failures";
const STARTED_LABEL: &str = "dispatcher.knapscen.disco/started";
const RUN_LABEL: &str = "dispatcher.knapscen.disco/run";

/// How long an ended container stays, so that every dispatcher that follows its Job can read what it reported.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// After this long, a container that was created but not started belongs to a dispatcher that crashed. Its event has
/// been delivered to another one by then.
const NEVER_STARTED: Duration = Duration::from_hours(1);
/// An event's id comes from outside and can have any length. This much of it is enough to find the container by.
const MAX_EVENT_ID: usize = 256;
/// The exit code that the engine reports for a container that it lost sight of, for example when the engine was
/// killed. The program did not end with it.
const LOST: i32 = 255;

/// A dispatcher that follows a Job starts the next try in time. After this much longer, no dispatcher follows it.
const ABANDONED_AFTER: Duration = Duration::from_mins(1);

/// The contents of the labels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// The event, as a hash.
    pub(super) event: String,
    /// The first try is 1.
    pub(super) try_number: u32,
    /// How many earlier tries failed and count.
    pub(super) failures: u32,
    /// When the first try was made.
    pub(super) started: SystemTime,
    /// The call that made this try, so that no other call takes it for its own.
    pub(super) run: String,
}

/// The state of a try.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// Created and not started: a dispatcher is about to start it, or has crashed before.
    Created {
        at: SystemTime,
    },
    Running,
    Ended {
        exit: Exit,
        at: SystemTime,
    },
    /// It is being removed.
    Leaving,
}

/// What a try means for its Job.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    /// The try has not ended.
    Open,
    /// Another try follows.
    Between { next_at: SystemTime, failures: u32, failed: Try },
    /// The Job has ended.
    Over(Outcome),
}

/// A try whose container exists in the engine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) record: Record,
    pub(super) state: State,
    pub(super) meaning: Meaning,
}

impl Record {
    /// The first try of a Job.
    pub(super) fn first(job: &PlannedJob, run: &str) -> Self {
        Self {
            event: job.identity.event_hash(),
            try_number: 1,
            failures: 0,
            started: SystemTime::now(),
            run: run.to_owned(),
        }
    }

    /// The try that follows this one.
    pub(super) fn next(&self, failures: u32, run: &str) -> Self {
        Self { try_number: self.try_number + 1, failures, run: run.to_owned(), ..self.clone() }
    }

    /// The labels of the container.
    pub(super) fn labels(
        &self,
        job: &PlannedJob,
        if_ended: EndedJobPolicy,
        scope: &str,
    ) -> HashMap<String, String> {
        let mut labels = HashMap::from([
            (IDENTITY_LABEL.to_owned(), job.identity.hash()),
            (EVENT_LABEL.to_owned(), self.event.clone()),
            (TRIGGER_LABEL.to_owned(), job.identity.trigger.clone()),
            (EVENT_ID_LABEL.to_owned(), cut(&job.identity.event_id, MAX_EVENT_ID)),
            (NAMESPACE_LABEL.to_owned(), job.namespace.clone()),
            (NAME_LABEL.to_owned(), job.name.clone()),
            (SCOPE_LABEL.to_owned(), scope.to_owned()),
            (TRY_LABEL.to_owned(), self.try_number.to_string()),
            (FAILURES_LABEL.to_owned(), self.failures.to_string()),
            (STARTED_LABEL.to_owned(), milliseconds(self.started).to_string()),
            (RUN_LABEL.to_owned(), self.run.clone()),
        ]);
        // What must never run again is remembered for ever.
        if let Some(ttl) = job.spec.ttl_after_finished.filter(|_| if_ended == EndedJobPolicy::Replace) {
            labels.insert(TTL_LABEL.to_owned(), ttl.as_secs().to_string());
        }
        labels
    }

    /// `None` if it is not a container of a dispatcher.
    fn read(labels: &HashMap<String, String>) -> Option<Self> {
        let number = |label: &str| labels.get(label)?.parse::<u64>().ok();
        Some(Self {
            event: labels.get(EVENT_LABEL)?.clone(),
            try_number: number(TRY_LABEL)?.try_into().ok()?,
            failures: number(FAILURES_LABEL)?.try_into().ok()?,
            started: UNIX_EPOCH + Duration::from_millis(number(STARTED_LABEL)?),
            run: labels.get(RUN_LABEL)?.clone(),
        })
    }
}

impl Known for Found {
    fn event(&self) -> &str {
        &self.record.event
    }

    fn outcome(&self) -> Option<Outcome> {
        match &self.meaning {
            Meaning::Over(outcome) => Some(outcome.clone()),
            // No dispatcher follows it any more, so it counts as handed back.
            Meaning::Between { next_at, .. } if *next_at + ABANDONED_AFTER < SystemTime::now() => {
                Some(Outcome::Stopped)
            }
            Meaning::Between { .. } => None,
            Meaning::Open => match self.state {
                State::Created { at } if at + ABANDONED_AFTER < SystemTime::now() => Some(Outcome::Stopped),
                _ => None,
            },
        }
    }
}

/// The record and state of a container; `None` if it does not belong to us.
pub(super) fn read(container: &ContainerInspectResponse) -> Option<(String, Record, State)> {
    let record = Record::read(container.config.as_ref()?.labels.as_ref()?)?;
    let state = container.state.as_ref()?;
    let read = match state.status? {
        ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY => {
            State::Created { at: time(container.created.as_deref()) }
        }
        ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD => {
            let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
            State::Ended {
                exit: exit(code, state.oom_killed == Some(true)),
                at: time(state.finished_at.as_deref()),
            }
        }
        ContainerStateStatusEnum::REMOVING => State::Leaving,
        ContainerStateStatusEnum::RUNNING
        | ContainerStateStatusEnum::PAUSED
        | ContainerStateStatusEnum::RESTARTING
        | ContainerStateStatusEnum::STOPPING => State::Running,
    };
    Some((container.id.clone()?, record, read))
}

/// A runtime reports a signal as 128 plus its number.
fn exit(code: Option<i32>, out_of_memory: bool) -> Exit {
    match code {
        Some(137) if out_of_memory => Exit::OutOfMemory,
        Some(code @ 129..=192) => Exit::Signal(code - 128),
        Some(code) => Exit::Code(code),
        None => Exit::Unseen,
    }
}

/// What a try means for its Job, the same for every dispatcher that looks at it.
pub(super) fn meaning(
    state: &State,
    record: &Record,
    spec: &JobSpec,
    report: Report,
    backoff: Duration,
) -> Meaning {
    let State::Ended { exit, at } = *state else { return Meaning::Open };
    let deadline = spec.active_deadline.map(|limit| record.started + limit);
    let is_late = |time: SystemTime| deadline.is_some_and(|deadline| deadline <= time);
    match policy::next(spec, exit, &report, record.failures, backoff) {
        Next::End(outcome @ Outcome::Complete { .. }) => Meaning::Over(outcome),
        _ if is_late(at) => Meaning::Over(policy::overdue(spec, exit, report)),
        Next::End(outcome) => Meaning::Over(unless_lost(outcome)),
        Next::TryAfter { .. } if is_late(SystemTime::now()) => {
            Meaning::Over(policy::overdue(spec, exit, report))
        }
        Next::TryAfter { delay, failures } => {
            let failed = policy::earlier(exit, &report, at);
            Meaning::Between { next_at: at + delay, failures, failed }
        }
    }
}

/// The engine's time; if it reports none, the try has just ended, so the time now.
fn time(text: Option<&str>) -> SystemTime {
    let parsed = text.and_then(|text| text.parse::<DateTime<Utc>>().ok());
    parsed.filter(|time| time.timestamp() > 0).map_or_else(SystemTime::now, SystemTime::from)
}

/// A try that the engine lost sight of may succeed later.
fn unless_lost(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(failure)
            if (failure.class, failure.exit_code) == (FailureClass::BackoffLimitExceeded, Some(LOST)) =>
        {
            Outcome::TryAgain(failure)
        }
        outcome => outcome,
    }
}

/// How much longer an ended container stays before another event's container replaces it.
pub(super) fn last_words(state: &State, now: SystemTime) -> Duration {
    let State::Ended { at, .. } = state else { return Duration::ZERO };
    (*at + LAST_WORDS).duration_since(now).unwrap_or_default().min(LAST_WORDS)
}

/// When a container with this end of its Job may be removed; `None` if not yet.
pub(super) fn due(container: &ContainerInspectResponse, ttl: Duration) -> Option<SystemTime> {
    match read(container)?.2 {
        State::Created { at } => Some(at + NEVER_STARTED),
        State::Ended { at, .. } => at.checked_add(ttl.max(LAST_WORDS)),
        State::Running | State::Leaving => None,
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
