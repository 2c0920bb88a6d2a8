//! One Job of one event: a place among those that run, the backend, and the word of how it went.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::Utc;

use super::Inner;
use super::stop::Stop;
use super::verdict::End;
use crate::backend::{Again, Cause as Rule, Outcome, Ran};
use crate::logging::masked;
use crate::metrics::JobOutcome;
use crate::observer::{Cause, JobRun, State};
use crate::plan::{Identity, PlannedJob};

pub(super) async fn run(
    inner: &Inner,
    cause: &Arc<Cause>,
    trigger: &str,
    job: &PlannedJob,
    again: Again,
    stop: &Stop,
) -> End {
    let slot = tokio::select! {
        slot = inner.admission.slot(&cause.nats_subject) => slot,
        () = stop.draining() => return End::Stopped,
    };
    let run = JobRun {
        trigger: trigger.to_owned(),
        namespace: job.namespace.clone(),
        name: job.name.clone(),
        image: job.spec.image.clone(),
        event_hash: job.identity.event_hash(),
        cause: Arc::clone(cause),
        handed_at: Utc::now(),
        state: State::Running,
    };
    inner.observer.job(&run);
    let ran = {
        let _running = inner.metrics.running(trigger);
        inner.backend.run(job, again, stop).await
    };
    drop(slot);
    let last = cause.attempt >= inner.settings.max_attempts;
    let outcome = ran.outcome.clone();
    let told = Ran { outcome: if last { outcome.given_up(cause.attempt) } else { outcome }, ..ran.clone() };
    inner.observer.job(&run.ended(&told));
    inner.metrics.job_ended(trigger, JobOutcome::of(&ran));
    let waited = waited(cause, &ran);
    let took = ran.started_at.and_then(|at| SystemTime::now().duration_since(at).ok());
    if !ran.adopted {
        inner.metrics.took(trigger, waited, took);
    }
    log(cause, trigger, job, &ran, waited, took);
    End::from(ran.outcome)
}

/// There is no Job, because the event cannot be planned, for a trigger or at all: a run that failed before it began.
pub(super) fn refused(inner: &Inner, cause: &Arc<Cause>, trigger: Option<&str>, why: &str) {
    let trigger = trigger.unwrap_or_default();
    let identity = Identity {
        trigger: trigger.to_owned(),
        source: cause.source.clone(),
        subject: cause.subject.clone(),
        event_id: cause.id.clone(),
        replay: cause.replay,
    };
    let run = JobRun {
        trigger: trigger.to_owned(),
        namespace: String::new(),
        name: String::new(),
        image: String::new(),
        event_hash: identity.event_hash(),
        cause: Arc::clone(cause),
        handed_at: Utc::now(),
        state: State::Running,
    };
    inner.observer.job(&run.ended(&Ran::refused(Rule::NotPlanned, why)));
    if !trigger.is_empty() {
        inner.metrics.job_ended(trigger, JobOutcome::Refused);
    }
}

/// From publishing to the start of the first try; a redelivery's wait says nothing about this dispatcher.
fn waited(cause: &Cause, ran: &Ran) -> Option<Duration> {
    let started = ran.started_at.filter(|_| cause.attempt == 1)?;
    started.duration_since(cause.published_at.into()).ok()
}

fn log(
    cause: &Cause,
    trigger: &str,
    job: &PlannedJob,
    ran: &Ran,
    waited: Option<Duration>,
    took: Option<Duration>,
) {
    let ms = |duration: Option<Duration>| duration.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    let (wait_ms, run_ms) = (ms(waited), ms(took));
    let event_id = &*masked(&cause.id);
    let (job_name, attempt, tries) = (&job.name, cause.attempt, ran.attempts);
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
        Outcome::Failed { cause: class, exit_code, message, .. } => tracing::error!(
            event.id = event_id, trigger, job.name = job_name, attempt, tries, wait_ms, run_ms,
            cause = %class, exit_code, reason = %masked(message), "failed"
        ),
        Outcome::TryAgain { cause: class, exit_code, message, .. } => tracing::warn!(
            event.id = event_id, trigger, job.name = job_name, attempt, tries, wait_ms, run_ms,
            cause = %class, exit_code, reason = %masked(message), "failed, to be tried again"
        ),
        Outcome::Stopped => tracing::info!(event.id = event_id, trigger, job.name = job_name, "handed back"),
    }
}
