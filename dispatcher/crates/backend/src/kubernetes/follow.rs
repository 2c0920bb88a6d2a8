//! Follows an existing Job until it ends, is removed, or will clearly never start.

use std::time::{Duration, SystemTime};

use super::super::{Failure, FailureClass, Outcome, Ran, Try};
use super::api_error::ApiError;
use super::observed::Observed;
use super::stuck::{Ask, Patience, Stuck};
use super::watch::{Follower, News};
use super::{Kubernetes, adoption, outcome, stuck};
use rules::plan::PlannedJob;

/// How long another event's Job is awaited before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, ApiError>;

/// The news about a Job.
enum Next {
    /// It is in this state now.
    Now(Observed),
    /// It was removed; this was its last state.
    Last(Observed),
    /// It was removed, and its last state was not seen.
    Gone,
}

impl Kubernetes {
    /// Follows a Job of this event to its end. `created`: when this dispatcher made it.
    pub(super) async fn follow(
        &self,
        job: &PlannedJob,
        mut seen: Observed,
        follower: &mut Follower,
        created: Option<SystemTime>,
    ) -> Ran {
        let adopted = created.is_none();
        let mut patience = Patience::new(self.0.stuck_after);
        let mut removed = false;
        loop {
            let started_at = created.or_else(|| seen.started_at());
            let ran =
                |outcome| Ran { outcome, tries: seen.tries(), adopted, started_at, earlier: Vec::new() };
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
                return ran(Ran::postponed(FailureClass::BackendError, message).outcome);
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

    /// Waits until another event's Job has ended or is gone. If it will never start, it is removed, as its own event
    /// would do: that event may have been given up already.
    pub(super) async fn until_ended(
        &self,
        job: &PlannedJob,
        mut other: Observed,
        follower: &mut Follower,
    ) -> Result<()> {
        let mut patience = Patience::new(self.0.stuck_after);
        while !other.has_ended() {
            patience.look(&other);
            let next = tokio::select! {
                next = self.next_or_look(job, &other, follower) => next?,
                () = patience.over() => {
                    if let Some(stuck) = self.stuck(job, &other).await.filter(|stuck| stuck.is_confirmed)
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
        other: &Observed,
        follower: &mut Follower,
    ) -> Result<()> {
        while let Next::Now(_) = self.next_or_look(job, other, follower).await? {}
        Ok(())
    }

    async fn next_or_look(
        &self,
        job: &PlannedJob,
        other: &Observed,
        follower: &mut Follower,
    ) -> Result<Next> {
        match tokio::time::timeout(LOOK_AGAIN, self.next(job, other, follower)).await {
            Ok(next) => next,
            Err(_) => self.look(job, other).await,
        }
    }

    /// The next news of this very Job.
    async fn next(&self, job: &PlannedJob, seen: &Observed, follower: &mut Follower) -> Result<Next> {
        match follower.next().await {
            News::Changed(now) if now.uid() == seen.uid() => Ok(Next::Now(now)),
            News::Deleted(last) if last.uid() == seen.uid() => Ok(Next::Last(last)),
            // The news is about an earlier Job with this name, or about none: ask the API server.
            _ => self.look(job, seen).await,
        }
    }

    async fn look(&self, job: &PlannedJob, seen: &Observed) -> Result<Next> {
        Ok(match self.0.calls.job(&job.namespace, &job.name).await? {
            Some(now) if now.uid() == seen.uid() => Next::Now(now),
            _ => Next::Gone,
        })
    }

    /// The outcome of the Job and the tries before. If no container tells the reason, Kubernetes' Events may.
    async fn outcome(&self, job: &PlannedJob, seen: &Observed) -> (Outcome, Vec<Try>) {
        let (calls, namespace) = (&self.0.calls, &job.namespace);
        let pods = calls.pods_of(namespace, seen).await.unwrap_or_default();
        let mut outcome = outcome::outcome(&job.spec.container, seen, &pods);
        if let Outcome::Failed(Failure { exit_code: None, message, .. })
        | Outcome::TryAgain(Failure { exit_code: None, message, .. }) = &mut outcome
            && let Some(warnings) = calls.warnings(namespace).await
            && let Some(words) = outcome::warning(seen, &warnings)
        {
            message.push_str("; ");
            message.push_str(&words);
        }
        (outcome, outcome::earlier(&job.spec.container, &pods))
    }

    /// Why the Job does not start; `None` if it may still start.
    async fn stuck(&self, job: &PlannedJob, seen: &Observed) -> Option<Stuck> {
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

    /// Removes a Job that will not start, so that it cannot start after its event was given up. `None`: it has made
    /// progress meanwhile.
    async fn give_up(&self, job: &PlannedJob, seen: &Observed, stuck: Stuck) -> Option<Outcome> {
        let limit = self.0.stuck_after.as_secs();
        let Stuck { class, words, is_confirmed } = stuck;
        let mut message = format!("it did not start within {limit} s: {words}");
        match self.remove_stuck(job, seen).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(fault) => message = format!("{message}; and its Job could not be removed: {fault}"),
        }
        Some(Failure::new(class, message).outcome(!is_confirmed))
    }

    /// Whether the Job was removed. False if it runs, has ended or is gone.
    async fn remove_stuck(&self, job: &PlannedJob, seen: &Observed) -> Result<bool> {
        match self.look(job, seen).await? {
            Next::Now(now) if !now.has_ended() && now.status.ready.unwrap_or(0) == 0 => {
                self.0.calls.delete_unchanged(&job.namespace, &now).await
            }
            _ => Ok(false),
        }
    }
}
