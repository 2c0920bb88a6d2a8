//! One Job of one event: takes a place, runs it on the backend, and reports the result.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::Utc;
use futures_util::future::BoxFuture;

use super::Inner;
use super::admission::JobPlace;
use super::verdict::End;
use crate::metrics::{JobOutcome, Running};
use crate::plan::{Identity, PlannedJob};
use ::job::{EventFacts, Failure, JobRun, Outcome, Ran, State, masked};
use backend::{EndedJobPolicy, Place};
use job::stop::Stop;

/// How long after its publication an event waits for a password that a server accepts.
const PASSWORDS_CHANGE_WITHIN: Duration = Duration::from_mins(15);

pub(super) async fn run(
    inner: &Inner,
    facts: &Arc<EventFacts>,
    trigger: &str,
    job: &PlannedJob,
    if_ended: EndedJobPolicy,
    stop: &Stop,
) -> End {
    let mut place = CountedPlace { inner, lane: &facts.nats_subject, trigger, taken: None };
    tokio::select! {
        () = place.enter() => {}
        () = stop.draining() => return End::Stopped,
    }
    let run = JobRun {
        trigger: trigger.to_owned(),
        namespace: job.namespace.clone(),
        name: job.name.clone(),
        image: job.spec.image.clone(),
        event_hash: job.identity.event_hash(),
        event: Arc::clone(facts),
        handed_at: Utc::now(),
        state: State::Running,
    };
    inner.observer.job(&run);
    let ran = inner.backend.run(job, if_ended, &mut place, stop).await;
    drop(place);
    let age = Utc::now().signed_duration_since(facts.published_at).to_std().unwrap_or_default();
    let ran = if age < PASSWORDS_CHANGE_WITHIN {
        Ran { outcome: ran.outcome.while_passwords_change(), ..ran }
    } else {
        ran
    };
    // Decided here whether this was the last attempt, so that all observers hear the same.
    let ran = if inner.is_last(facts.attempt) {
        Ran { outcome: ran.outcome.given_up(facts.attempt), ..ran }
    } else {
        ran
    };
    inner.observer.job(&run.ended(&ran));
    inner.metrics.job_ended(trigger, JobOutcome::of(&ran));
    let waited = waited(facts, &ran);
    let took = ran.started_at.and_then(|at| SystemTime::now().duration_since(at).ok());
    if !ran.adopted {
        inner.metrics.took(trigger, waited, took);
    }
    log(facts, trigger, job, &ran, waited, took);
    End::from(ran.outcome)
}

/// The place of a Job, and its entry in the metrics.
struct CountedPlace<'a> {
    inner: &'a Inner,
    lane: &'a str,
    trigger: &'a str,
    taken: Option<(JobPlace, Running)>,
}

impl Place for CountedPlace<'_> {
    fn leave(&mut self) {
        self.taken = None;
    }

    fn enter(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if self.taken.is_none() {
                let taken = self.inner.admission.place(self.lane).await;
                self.taken = Some((taken, self.inner.metrics.running(self.trigger)));
            }
        })
    }
}

/// Reports a run without a Job: the event cannot be planned, for one trigger or at all.
pub(super) fn refused(inner: &Inner, facts: &Arc<EventFacts>, trigger: Option<&str>, why: &Failure) {
    let trigger = trigger.unwrap_or_default();
    let identity = Identity {
        trigger: trigger.to_owned(),
        source: facts.source.clone(),
        subject: facts.subject.clone(),
        event_id: facts.id.clone(),
        replay: facts.replay,
    };
    let run = JobRun {
        trigger: trigger.to_owned(),
        namespace: String::new(),
        name: String::new(),
        image: String::new(),
        event_hash: identity.event_hash(),
        event: Arc::clone(facts),
        handed_at: Utc::now(),
        state: State::Running,
    };
    inner.observer.job(&run.ended(&Ran::refused(why.class, &*why.message)));
    if !trigger.is_empty() {
        inner.metrics.job_ended(trigger, JobOutcome::Refused);
    }
}

/// From publishing to the start of the first try. For a redelivery, the wait tells nothing about this dispatcher.
fn waited(facts: &EventFacts, ran: &Ran) -> Option<Duration> {
    let started = ran.started_at.filter(|_| facts.delivery == 1)?;
    started.duration_since(facts.published_at.into()).ok()
}

fn log(
    facts: &EventFacts,
    trigger: &str,
    job: &PlannedJob,
    ran: &Ran,
    waited: Option<Duration>,
    took: Option<Duration>,
) {
    let ms = |duration: Option<Duration>| duration.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    let (wait_ms, run_ms) = (ms(waited), ms(took));
    let event_id = &*masked(&facts.id);
    let (job_name, attempt, tries) = (&job.name, facts.attempt, ran.tries);
    match &ran.outcome {
        Outcome::Complete { .. } => tracing::info!(
            event.id = event_id,
            trigger,
            job.name = job_name,
            attempt,
            tries,
            wait_ms,
            run_ms,
            adopted = ran.adopted,
            "complete"
        ),
        Outcome::Failed(Failure { class, exit_code, message, .. }) => tracing::error!(
            event.id = event_id, trigger, job.name = job_name, attempt, tries, wait_ms, run_ms,
            cause = %class, exit_code, reason = %masked(message), "failed"
        ),
        Outcome::TryAgain(Failure { class, exit_code, message, .. }) => tracing::warn!(
            event.id = event_id, trigger, job.name = job_name, attempt, tries, wait_ms, run_ms,
            cause = %class, exit_code, reason = %masked(message), "failed, to be tried again"
        ),
        Outcome::Stopped => tracing::info!(event.id = event_id, trigger, job.name = job_name, "handed back"),
    }
}
