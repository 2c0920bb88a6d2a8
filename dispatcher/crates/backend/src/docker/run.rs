//! Follows one Job to its end: looks at the container with its name, does the next thing, and looks again.
//!
//! A call without an answer is not a special case: its effect is seen at the next look.

mod start;

use std::time::{Duration, SystemTime};

use super::super::adoption::{self, ExistingJobAction};
use super::super::start_error::StartError;
use super::super::{EndedJobPolicy, FailureClass, Outcome, Place, Ran, Report, Try, deadline, policy};
use super::client::Trouble;
use super::container::MessageFile;
use super::image::PullError;
use super::record::{self, Found, Meaning, Record, State};
use super::{Inner, output};
use job::stop::Stop;
use rules::plan::PlannedJob;
use shared::pauses::Pauses;

/// After a change, the next look follows at once. An engine that is away is asked less and less often.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// The time between two looks if only time can change something.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The result of one turn of a run.
enum Turn {
    /// Something has changed: look again.
    Look,
    /// There is nothing to do yet: look again after a while.
    Pause,
    /// The Job has ended, or was handed back.
    Done(Ran),
}

/// One Job on its way to its end. It remembers only what this run has seen and the engine cannot tell.
pub(super) struct Run<'a> {
    inner: &'a Inner,
    job: &'a PlannedJob,
    if_ended: EndedJobPolicy,
    /// The place is left while another event's Job is awaited.
    place: &'a mut dyn Place,
    name: String,
    /// Marks the containers that this run creates.
    mark: String,
    message: MessageFile,
    /// The try of this event that was followed last.
    followed: Option<Record>,
    /// The try to start once the name is free.
    next: Option<Record>,
    was_pulled: bool,
    /// Tries that this run has seen fail.
    earlier: Vec<Try>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        inner: &'a Inner,
        job: &'a PlannedJob,
        if_ended: EndedJobPolicy,
        place: &'a mut dyn Place,
    ) -> Self {
        Self {
            inner,
            job,
            if_ended,
            place,
            name: inner.container_name(&job.namespace, &job.name),
            mark: shared::Uuid::new_v4().simple().to_string(),
            message: MessageFile::of(job),
            followed: None,
            next: None,
            was_pulled: false,
            earlier: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, stop: &Stop) -> Ran {
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            // A try that has begun may end within the grace time. Nothing else is waited for, not even an answer of
            // the engine.
            let has_begun = self.followed.is_some();
            let over = async { if has_begun { stop.ending().await } else { stop.draining().await } };
            let turn = tokio::select! {
                turn = self.turn(stop) => turn,
                () = over => return self.stopped(),
            };
            let pause = match turn {
                Ok(Turn::Done(ran)) => return ran,
                Ok(Turn::Look) => {
                    pauses.reset();
                    FIRST_PAUSE
                }
                Ok(Turn::Pause) | Err(Problem::Trouble(Trouble::Missing(_) | Trouble::Conflict(_))) => {
                    LOOK_EVERY
                }
                // This counts neither as a failure nor as a try: keep looking until the engine is back.
                Err(Problem::Trouble(Trouble::Away)) => pauses.take(),
                Err(Problem::Trouble(trouble)) => {
                    return self.not_started(StartError::Later(
                        FailureClass::BackendError,
                        format!("the engine could not run image {}: {trouble}", self.job.spec.image),
                    ));
                }
                Err(Problem::Start(error)) => return self.not_started(error),
                Err(Problem::Stopped) => return self.stopped(),
            };
            let is_last =
                async { if self.followed.is_some() { stop.ending().await } else { stop.draining().await } };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = is_last => return self.stopped(),
            }
        }
    }

    /// Looks once, and does the next thing.
    async fn turn(&mut self, stop: &Stop) -> std::result::Result<Turn, Problem> {
        let found = match self.look().await? {
            Look::Nothing => match (self.next.clone(), self.followed.clone()) {
                (Some(next), _) => return self.start(next, stop).await,
                (None, Some(record)) => self.lost(record),
                (None, None) => return self.start(Record::first(self.job, &self.mark), stop).await,
            },
            Look::Leaving => return Ok(Turn::Pause),
            Look::Found(found) => found,
        };
        let (id, state) = (found.id.clone(), found.state.clone());
        let known = match &found.meaning {
            // This run has followed the try to its end, so its outcome counts, whether it is tried again or not.
            Meaning::Over(outcome) if self.is_followed(&found) => {
                ExistingJobAction::Report(found.clone(), outcome.clone())
            }
            _ if self.is_followed(&found) => return self.follow(found, stop).await,
            _ => adoption::decide(Some(found), &self.job.identity, self.if_ended),
        };
        match known {
            ExistingJobAction::Start => {
                tokio::time::sleep(record::last_words(&state, SystemTime::now())).await;
                (self.followed, self.next) = (None, None);
                self.inner.remove(&id).await?;
                Ok(Turn::Look)
            }
            ExistingJobAction::Report(found, outcome) => Ok(Turn::Done(self.ran(&found.record, outcome))),
            ExistingJobAction::Follow(found) => {
                self.followed = Some(found.record);
                Ok(Turn::Look)
            }
            ExistingJobAction::WaitFor(other) => self.wait_for(&other).await,
        }
    }

    fn is_followed(&self, found: &Found) -> bool {
        self.followed.as_ref().is_some_and(|followed| followed.event == found.record.event)
    }

    /// What the engine has under the name of this Job.
    async fn look(&self) -> std::result::Result<Look, Problem> {
        let (inner, client) = (self.inner, &self.inner.client);
        let asked = client.settle(client.engine().await?.inspect_container(&self.name, None)).await;
        let inspected = match asked {
            Ok(inspected) => inspected,
            Err(Trouble::Missing(_)) => return Ok(Look::Nothing),
            Err(trouble) => return Err(trouble.into()),
        };
        let Some((id, record, state)) = record::read(&inspected) else {
            let message = format!(
                "a container named {} is in the way, and no dispatcher made it; rename or remove it",
                self.name
            );
            return Err(Problem::Start(StartError::Later(FailureClass::BackendError, message)));
        };
        let report = match state {
            State::Ended { .. } => output::report(client, &id, &self.message).await?,
            State::Leaving => return Ok(Look::Leaving),
            _ => Report::default(),
        };
        let meaning = record::meaning(&state, &record, &self.job.spec, report, inner.settings.backoff);
        Ok(Look::Found(Found { id, record, state, meaning }))
    }

    /// Somebody has removed a container that this run followed.
    fn lost(&self, record: Record) -> Found {
        let state = State::Ended { exit: policy::Exit::Unseen, at: SystemTime::now() };
        let (spec, backoff) = (&self.job.spec, self.inner.settings.backoff);
        let meaning = record::meaning(&state, &record, spec, Report::default(), backoff);
        Found { id: self.name.clone(), record, state, meaning }
    }

    /// A try of this event: started if no dispatcher has started it, awaited, and followed by the next one.
    async fn follow(&mut self, found: Found, stop: &Stop) -> std::result::Result<Turn, Problem> {
        self.followed = Some(found.record.clone());
        match (&found.meaning, &found.state) {
            (Meaning::Between { next_at, failures, failed }, _) => {
                let deadline = self.deadline(&found.record);
                let delay = next_at.duration_since(SystemTime::now()).unwrap_or_default();
                if !deadline::wait(delay, deadline, stop).await {
                    // At the deadline, the next look sees that it is over.
                    return if stop.is_draining() { Err(Problem::Stopped) } else { Ok(Turn::Look) };
                }
                self.next = Some(found.record.next(*failures, &self.mark));
                self.earlier.push(failed.clone());
                self.inner.remove(&found.id).await?;
                Ok(Turn::Look)
            }
            (_, State::Created { .. }) => {
                self.begin(&found.id).await?;
                Ok(Turn::Look)
            }
            _ => self.attend(&found.id, &found.record).await,
        }
    }

    /// Waits for one try, and ends it at the Job's deadline. If this dispatcher stops, the next one goes on.
    async fn attend(&self, id: &str, record: &Record) -> std::result::Result<Turn, Problem> {
        tokio::select! {
            waited = self.inner.wait(id) => waited?,
            () = deadline::overdue(self.deadline(record)) => self.inner.stop(id, self.job.spec.grace).await?,
        }
        Ok(Turn::Look)
    }

    /// Another event's Job with this name: awaited, and ended at its deadline, because no other dispatcher may be
    /// watching it.
    async fn wait_for(&mut self, other: &Found) -> std::result::Result<Turn, Problem> {
        if other.state != State::Running {
            return Ok(Turn::Pause);
        }
        self.place.leave();
        let waited = tokio::select! {
            waited = self.inner.wait(&other.id) => waited,
            () = deadline::overdue(self.deadline(&other.record)) => {
                self.inner.stop(&other.id, self.job.spec.grace).await
            }
        };
        self.place.enter().await;
        waited?;
        Ok(Turn::Look)
    }

    fn deadline(&self, record: &Record) -> Option<tokio::time::Instant> {
        deadline::of(self.job.spec.active_deadline, record.started)
    }

    fn ran(&self, record: &Record, outcome: Outcome) -> Ran {
        Ran {
            outcome,
            tries: record.try_number,
            adopted: record.run != self.mark,
            started_at: Some(record.started),
            earlier: self.earlier.clone(),
        }
    }

    fn stopped(&self) -> Ran {
        match &self.followed {
            Some(record) => self.ran(record, Outcome::Stopped),
            None => Ran::stopped(),
        }
    }

    fn not_started(&self, error: StartError) -> Ran {
        let ran = Ran::from(error);
        match &self.followed {
            Some(record) => self.ran(record, ran.outcome),
            None => ran,
        }
    }
}

enum Look {
    Nothing,
    Leaving,
    Found(Found),
}

/// Why a turn could not be finished.
enum Problem {
    Trouble(Trouble),
    Start(StartError),
    Stopped,
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<PullError> for Problem {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Trouble(trouble) => Self::Trouble(trouble),
            PullError::Start(error) => Self::Start(error),
        }
    }
}
