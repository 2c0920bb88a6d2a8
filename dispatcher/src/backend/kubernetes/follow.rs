//! From a Job that is there to its end, its removal, or the time when it is clear that it will never start.

use std::time::{Duration, SystemTime};

use super::super::{Outcome, Ran, Report, Try};
use super::fault::Fault;
use super::seen::Seen;
use super::stuck::{Ask, Patience, Stuck};
use super::watch::{Follower, News};
use super::{Kubernetes, adoption, ending, stuck};
use crate::plan::PlannedJob;

/// How long another event's Job is waited for before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, Fault>;

/// How a Job goes on.
enum Next {
    /// Like this.
    Now(Seen),
    /// It was removed; this is how it was last.
    Last(Seen),
    /// It was removed unheard.
    Gone,
}

impl Kubernetes {
    /// From a Job of this event to its end. `created`: when this dispatcher made it.
    pub(super) async fn follow(
        &self,
        job: &PlannedJob,
        mut seen: Seen,
        follower: &mut Follower,
        created: Option<SystemTime>,
    ) -> Ran {
        let adopted = created.is_none();
        let mut patience = Patience::new(self.0.stuck_after);
        let mut removed = false;
        loop {
            let started_at = created.or_else(|| seen.started_at());
            let ran = |outcome| Ran {
                outcome,
                attempts: seen.attempts(),
                adopted,
                started_at,
                earlier: Vec::new(),
            };
            if seen.has_ended() {
                let (outcome, earlier) = self.outcome(job, &seen).await;
                return Ran { earlier, ..ran(outcome) };
            }
            if seen.is_taken_back() {
                return ran(adoption::taken_back().outcome);
            }
            if removed {
                let message = format!(
                    "the Job {}/{} was removed before its end was seen; it is run again",
                    job.namespace, job.name
                );
                return ran(Ran::postponed(message).outcome);
            }
            patience.look(&seen);
            let next = tokio::select! {
                next = self.next(job, &seen, follower) => next,
                () = patience.over() => {
                    if let Some(stuck) = self.stuck(job, &seen).await
                        && let Some(outcome) = self.give_up(job, &seen, stuck).await
                    {
                        return ran(outcome);
                    }
                    patience.renew();
                    continue;
                }
            };
            match next {
                Ok(Next::Now(now)) => seen = now,
                Ok(Next::Last(last)) => (seen, removed) = (last, true),
                Ok(Next::Gone) => removed = true,
                Err(fault) => return fault.ran(),
            }
        }
    }

    /// Waits until another event's Job has ended or is gone. One that will never start is removed as its own event would have it
    /// removed, for that may have gone before it.
    pub(super) async fn until_ended(
        &self,
        job: &PlannedJob,
        mut other: Seen,
        follower: &mut Follower,
    ) -> Result<()> {
        let mut patience = Patience::new(self.0.stuck_after);
        while !other.has_ended() {
            patience.look(&other);
            let next = tokio::select! {
                next = self.next_or_look(job, &other, follower) => next?,
                () = patience.over() => {
                    if let Some(stuck) = self.stuck(job, &other).await.filter(|stuck| stuck.is_said)
                        && self.remove_stuck(job, &other).await?
                    {
                        let (namespace, name, why) = (&job.namespace, &job.name, &stuck.words);
                        tracing::warn!(namespace, name, why, "another event's Job that would not start is removed");
                        return self.until_gone(job, &other, follower).await;
                    }
                    patience.renew();
                    continue;
                }
            };
            let Next::Now(now) = next else { return Ok(()) };
            other = now;
        }
        Ok(())
    }

    /// Waits until this very Job is gone.
    pub(super) async fn until_gone(
        &self,
        job: &PlannedJob,
        other: &Seen,
        follower: &mut Follower,
    ) -> Result<()> {
        while let Next::Now(_) = self.next_or_look(job, other, follower).await? {}
        Ok(())
    }

    async fn next_or_look(&self, job: &PlannedJob, other: &Seen, follower: &mut Follower) -> Result<Next> {
        match tokio::time::timeout(LOOK_AGAIN, self.next(job, other, follower)).await {
            Ok(next) => next,
            Err(_) => self.look(job, other).await,
        }
    }

    /// The next news of this very Job.
    async fn next(&self, job: &PlannedJob, seen: &Seen, follower: &mut Follower) -> Result<Next> {
        match follower.next().await {
            News::Changed(now) if now.uid() == seen.uid() => Ok(Next::Now(now)),
            News::Deleted(last) if last.uid() == seen.uid() => Ok(Next::Last(last)),
            // Of a Job that had this name before, or of none: ask.
            _ => self.look(job, seen).await,
        }
    }

    async fn look(&self, job: &PlannedJob, seen: &Seen) -> Result<Next> {
        Ok(match self.0.calls.job(&job.namespace, &job.name).await? {
            Some(now) if now.uid() == seen.uid() => Next::Now(now),
            _ => Next::Gone,
        })
    }

    /// What the Job's end means, and the tries before; where no container tells, Kubernetes' events may.
    async fn outcome(&self, job: &PlannedJob, seen: &Seen) -> (Outcome, Vec<Try>) {
        let (calls, namespace) = (&self.0.calls, &job.namespace);
        let pods = calls.pods_of(namespace, seen).await.unwrap_or_default();
        let mut outcome = ending::outcome(&job.spec.container, seen, &pods);
        if let Outcome::Failed { exit_code: None, message, .. }
        | Outcome::TryAgain { exit_code: None, message, .. } = &mut outcome
            && let Some(warnings) = calls.warnings(namespace).await
            && let Some(words) = ending::warning(seen, &warnings)
        {
            message.push_str("; ");
            message.push_str(&words);
        }
        (outcome, ending::earlier(&job.spec.container, &pods))
    }

    /// Why a Job of this name does not start, if it does not.
    async fn stuck(&self, job: &PlannedJob, seen: &Seen) -> Option<Stuck> {
        let (calls, namespace) = (&self.0.calls, &job.namespace);
        let pods = calls.pods_of(namespace, seen).await?;
        match stuck::of_pods(&pods) {
            Ok(stuck) => Some(stuck),
            Err(Ask::Nobody) => None,
            Err(Ask::Job) => stuck::of_job_events(calls.events_of(namespace, seen.uid()).await.as_deref()),
            Err(Ask::Pod(pod)) => {
                let events = calls.events_of(namespace, pod.metadata.uid.as_deref()?).await;
                stuck::of_pod_events(pod, events.as_deref())
            }
        }
    }

    /// Removes a Job that will not start, so that it does not start after its event was given up. `None`: it has got on.
    async fn give_up(&self, job: &PlannedJob, seen: &Seen, stuck: Stuck) -> Option<Outcome> {
        let limit = self.0.stuck_after.as_secs();
        let Stuck { cause, words, is_said } = stuck;
        let mut message = format!("it did not start within {limit} s: {words}");
        match self.remove_stuck(job, seen).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(fault) => message = format!("{message}; and its Job could not be removed: {fault}"),
        }
        let (exit_code, report) = (None, Report::default());
        Some(if is_said {
            Outcome::Failed { cause, exit_code, message, report }
        } else {
            Outcome::TryAgain { cause, exit_code, message, report }
        })
    }

    /// Whether the Job was removed, and not found to run, to have ended, or to be gone.
    async fn remove_stuck(&self, job: &PlannedJob, seen: &Seen) -> Result<bool> {
        match self.look(job, seen).await? {
            Next::Now(now) if !now.has_ended() && now.status.ready.unwrap_or(0) == 0 => {
                self.0.calls.delete_unchanged(&job.namespace, &now).await
            }
            _ => Ok(false),
        }
    }
}
