//! One delivery from its arrival to its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;

use super::outline::Outline;
use super::parked::Turn;
use super::verdict::{End, Verdict, verdict};
use super::{Inner, job};
use crate::manifest::{LeftOut, SyncMode};
use crate::manifest_source::rules::Concern;
use crate::metrics::JobOutcome;
use crate::onboarding::customer;
use crate::plan::{self, Action, Identity, IncomingEvent, PlanError, PlannedJob, Stage, TriggerPlan};
use crate::size;
use ::job::stop::Stop;
use ::job::{EventFacts, Failure, FailureClass, masked};
use backend::EndedJobPolicy;
use bus::{DeadLetterInfo, Delivery};
use shared::pauses::Pauses;

/// A message up to this size is planned on this thread, because a change of thread takes longer than the planning.
const PLANNED_HERE: usize = 16 << 10;

/// How many larger events are parsed and planned at the same time, because parsed events need much more memory.
pub(super) const PLANNED_AT_ONCE: usize = 2;

/// How often an answer is sent before its lease is left to expire.
const ANSWER_TRIES: u32 = 5;
const ANSWER_PAUSE: Duration = Duration::from_millis(400);

/// How long storing a dead letter is tried before its event is handed back, and when the event then comes again.
/// Meanwhile its bytes take memory from other events.
const DEAD_LETTER_WITHIN: Duration = Duration::from_secs(30);
const DEAD_LETTER_AGAIN: Duration = Duration::from_secs(10);

pub(super) async fn handle(inner: &Arc<Inner>, delivery: Delivery, stop: &Stop) {
    // The lease expired because this process was too slow to renew it. The task that still works on the message
    // answers it.
    let Some(_in_hand) = inner.in_hand.take(key_of_message(&delivery)) else { return };
    inner.metrics.received(&delivery.subject, delivery.delivery_count > 1);
    let mut alive = delivery.clone();
    alive.let_go();
    let beat = async {
        loop {
            tokio::time::sleep(alive.lease / 3).await;
            if let Err(error) = alive.in_progress().await {
                tracing::debug!(nats.subject = alive.subject, error = %error, "the lease was not renewed");
            }
        }
    };
    tokio::select! {
        () = decide_and_answer(inner, delivery, stop) => {}
        () = beat => {}
    }
}

async fn decide_and_answer(inner: &Arc<Inner>, delivery: Delivery, stop: &Stop) {
    let (facts, plans, untaken) = match planned(inner, &delivery).await {
        Ok(planned) => planned,
        Err(Refused { facts, why }) => {
            if let Some(facts) = &facts {
                job::refused(inner, facts, None, &why);
            }
            let verdict = Verdict::DeadLetter(why);
            return answer(inner, delivery, facts.as_deref(), Vec::new(), verdict, stop).await;
        }
    };
    let mut ends = run_triggers(inner, &delivery, &facts, plans, stop).await;
    ends.extend(untaken.map(|why| (String::new(), End::Parked(why))));
    let only_ends: Vec<_> = ends.iter().map(|(_, end)| end.clone()).collect();
    let verdict = match verdict(&only_ends, delivery.attempts) {
        Verdict::Park(why) => park(inner, &delivery, &facts, why),
        verdict => verdict,
    };
    answer(inner, delivery, Some(&facts), ends, verdict, stop).await;
}

/// An event that cannot be planned, with the facts that are known about it.
struct Refused {
    facts: Option<Arc<EventFacts>>,
    why: Failure,
}

/// The facts of the event, the plans of all matching triggers, and why it waits for other manifests, if it does. The
/// event itself is dropped.
async fn planned(
    inner: &Arc<Inner>,
    delivery: &Delivery,
) -> Result<(Arc<EventFacts>, Vec<TriggerPlan>, Option<Failure>), Refused> {
    let arrived = arrived(delivery);
    let bytes = delivery.size();
    if bytes > bus::LARGEST_PLANNED {
        let outline = Outline::of(&delivery.headers, &delivery.payload);
        let facts = outline.map(|outline| Arc::new(outline.facts(arrived)));
        let reason = size::too_large(bytes).to_string();
        return Err(Refused { facts, why: Failure::new(FailureClass::TooLarge, reason) });
    }
    // The semaphore is never closed.
    let _place = if bytes > PLANNED_HERE { inner.planning.acquire().await.ok() } else { None };
    let event = match IncomingEvent::parse(&delivery.subject, &delivery.headers, &delivery.payload) {
        Ok(event) => Arc::new(event.replayed(delivery.replay)),
        Err(error) => {
            let why = Failure::new(FailureClass::NotACloudEvent, error.to_string());
            return Err(Refused { facts: None, why });
        }
    };
    let facts = Arc::new(facts_of(&event, arrived));
    if event.hop_count() > shared::event::MAX_HOPS {
        let reason =
            format!("{} hops are a loop; {} are allowed", event.hop_count(), shared::event::MAX_HOPS);
        let why = Failure::new(FailureClass::HopLimit, reason);
        return Err(Refused { facts: Some(facts), why });
    }
    match plan_safely(inner, bytes, &event).await {
        Ok(plans) => {
            let untaken = untaken(inner, &event, plans.is_empty());
            Ok((facts, plans, untaken))
        }
        Err(why) => Err(Refused { facts: Some(facts), why }),
    }
}

/// Why the event waits for other manifests; `None` if it does not. It waits if no trigger takes it although the
/// manifests name its subject, or if it is for a trigger that is left out.
fn untaken(inner: &Inner, event: &IncomingEvent, unmatched: bool) -> Option<Failure> {
    let why = |reason| Some(Failure::new(FailureClass::Unmatched, reason));
    let takes = |one: &&LeftOut| one.takes(event, &inner.settings.cluster);
    if let Some(left_out) = inner.rules.current().left_out.iter().find(takes) {
        return why(format!("{} is left out: {}", left_out.name, left_out.why));
    }
    let concern = unmatched.then(|| inner.rules.concern(&event.nats_subject))?;
    match concern {
        Concern::Named => why(format!(
            "no trigger in force takes an event of type {:?} and source {:?} on {}",
            event.event_type(),
            event.source(),
            event.nats_subject
        )),
        Concern::End => None,
        Concern::Foreign => {
            inner.metrics.unmatched(&event.nats_subject);
            None
        }
    }
}

/// Parks the event, or makes it a dead letter once its time is over.
fn park(inner: &Inner, delivery: &Delivery, facts: &Arc<EventFacts>, why: Failure) -> Verdict {
    match inner.parked.turn(&key_of_message(delivery), &delivery.subject) {
        Turn::Wait { delay, first } => {
            if first {
                inner.metrics.unmatched(&delivery.subject);
                tracing::warn!(
                    nats.subject = delivery.subject, event.id = %masked(&facts.id), reason = %masked(&why.message),
                    "parked until the manifests change"
                );
            }
            Verdict::Retry { delay, attempts: delivery.attempts }
        }
        Turn::GiveUp => {
            job::refused(inner, facts, None, &why);
            Verdict::DeadLetter(why)
        }
    }
}

/// The plans of all matching triggers. A panic in them must only affect this event, and a long event must not delay
/// others.
async fn plan_safely(
    inner: &Arc<Inner>,
    bytes: usize,
    event: &Arc<IncomingEvent>,
) -> Result<Vec<TriggerPlan>, Failure> {
    let planned = if bytes <= PLANNED_HERE {
        catch_unwind(AssertUnwindSafe(|| plans(inner, event))).map_err(|_| "a panic".to_owned())
    } else {
        let (inner, event) = (Arc::clone(inner), Arc::clone(event));
        let apart = tokio::task::spawn_blocking(move || plans(&inner, &event));
        apart.await.map_err(|error| error.to_string())
    };
    planned
        .map_err(|error| Failure::new(FailureClass::Bug, format!("the event could not be planned: {error}")))
}

fn plans(inner: &Inner, event: &IncomingEvent) -> Vec<TriggerPlan> {
    let (current, earlier) = inner.rules.sets();
    plan::plan_after(event, &current, &earlier, &inner.settings.cluster, &inner.settings.policy)
}

/// Runs all triggers that have not ended yet, at the same time.
async fn run_triggers(
    inner: &Arc<Inner>,
    delivery: &Delivery,
    facts: &Arc<EventFacts>,
    plans: Vec<TriggerPlan>,
    stop: &Stop,
) -> Vec<(String, End)> {
    let known = inner.finished.ends_of(&key_of_message(delivery));
    let mut ends = Vec::with_capacity(plans.len());
    let mut running = tokio::task::JoinSet::new();
    for plan in plans {
        inner.metrics.matched(&plan.trigger);
        if let Some(end) = known.get(&plan.trigger) {
            ends.push((plan.trigger, end.clone()));
            continue;
        }
        let (inner, facts, stop) = (Arc::clone(inner), Arc::clone(facts), stop.clone());
        running.spawn(async move {
            let trigger = plan.trigger.clone();
            let end = run_trigger(&inner, &facts, plan, &stop).await;
            (trigger, end)
        });
    }
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(end) => ends.push(end),
            // A panic in one trigger: the event is kept, and the other triggers go on.
            Err(error) => {
                let reason = format!("the dispatcher failed: {error}");
                let why = Failure::new(FailureClass::Bug, reason);
                ends.push((String::new(), again(inner, facts.attempt, why)));
            }
        }
    }
    ends
}

async fn run_trigger(inner: &Inner, facts: &Arc<EventFacts>, plan: TriggerPlan, stop: &Stop) -> End {
    let trigger = &plan.trigger;
    let action = match &plan.outcome {
        Ok(action) => action,
        Err(error) => return unplanned(inner, facts, &plan, error),
    };
    match action {
        Action::Skip(_) | Action::Create { sync: SyncMode::DryRun, .. } => {
            inner.metrics.job_ended(trigger, JobOutcome::Skipped);
            End::Done
        }
        Action::Delete { identity } => delete(inner, facts, trigger, identity, stop).await,
        Action::Create { sync, jobs, prunes_others } => {
            let if_ended =
                if *sync == SyncMode::OneTime { EndedJobPolicy::Keep } else { EndedJobPolicy::Replace };
            let mut end = End::Done;
            for job in jobs {
                end = end.worse(job::run(inner, facts, trigger, job, if_ended, stop).await);
            }
            if end == End::Done && *prunes_others {
                end = prune(inner, facts.attempt, &plan.identity, jobs, stop).await;
            }
            end
        }
    }
}

/// A planning error is permanent, except that a missing text may still come.
fn unplanned(inner: &Inner, facts: &Arc<EventFacts>, plan: &TriggerPlan, error: &PlanError) -> End {
    let why = Failure::new(error.stage.class(), error.to_string());
    let end = if error.stage == Stage::Missing { again(inner, facts.attempt, why) } else { End::Failed(why) };
    if let End::Failed(why) = &end {
        job::refused(inner, facts, Some(&plan.trigger), why);
    }
    end
}

/// Removes the trigger's Jobs of this identity. If only some are removed, the next dispatcher that gets the event
/// removes the rest.
async fn delete(inner: &Inner, facts: &EventFacts, trigger: &str, identity: &Identity, stop: &Stop) -> End {
    let deleted = tokio::select! {
        deleted = inner.backend.delete(identity) => deleted,
        () = stop.draining() => {
            inner.metrics.job_ended(trigger, JobOutcome::Stopped);
            return End::Stopped;
        }
    };
    let (event_id, attempt) = (&facts.id, facts.attempt);
    match deleted {
        Ok(()) => {
            inner.metrics.job_ended(trigger, JobOutcome::Deleted);
            tracing::info!(event.id = event_id, trigger, attempt, "deleted");
            End::Done
        }
        Err(error) => {
            inner.metrics.job_ended(trigger, JobOutcome::TryAgain);
            tracing::warn!(
                event.id = event_id, trigger, attempt, reason = %masked(&error.to_string()), "not deleted, to be tried again"
            );
            let why = Failure::new(FailureClass::Delete, error.to_string());
            again(inner, attempt, why)
        }
    }
}

/// Removes Jobs of this identity that are not rendered any more. This event's Jobs are done, so the grace time for
/// Jobs also covers this.
async fn prune(inner: &Inner, attempt: u64, identity: &Identity, jobs: &[PlannedJob], stop: &Stop) -> End {
    // Without a subject, all events of a source would have one identity.
    if identity.subject.is_empty() {
        return End::Done;
    }
    let kept = jobs.iter().map(|job| (job.namespace.clone(), job.name.clone())).collect();
    let pruned = tokio::select! {
        pruned = inner.backend.prune(identity, &kept) => pruned,
        () = stop.ending() => return End::Stopped,
    };
    match pruned {
        Ok(()) => End::Done,
        Err(error) => again(inner, attempt, Failure::new(FailureClass::Prune, error.to_string())),
    }
}

/// Asks for another attempt, unless this was the last one.
fn again(inner: &Inner, attempt: u64, why: Failure) -> End {
    if !inner.is_last(attempt) {
        return End::TryAgain(why);
    }
    End::Failed(why.given_up(attempt))
}

async fn answer(
    inner: &Arc<Inner>,
    mut delivery: Delivery,
    facts: Option<&EventFacts>,
    ends: Vec<(String, End)>,
    verdict: Verdict,
    stop: &Stop,
) {
    let key = key_of_message(&delivery);
    // Before an event is answered for good, its runs must be stored, in case this process ends afterwards.
    let kept = async |published_at| {
        if let Some(facts) = facts {
            inner.observer.until_kept(&facts.id, published_at).await;
        }
    };
    // Free its bytes first, because waiting for the runs takes time.
    if !matches!(verdict, Verdict::DeadLetter(_)) {
        delivery.let_go();
    }
    match verdict {
        Verdict::Ack => {
            if !ends.is_empty() {
                kept(delivery.published_at).await;
            }
            persist("acknowledge", &delivery, || delivery.ack()).await;
            inner.finished.forget(&key);
            inner.parked.forget(&key);
        }
        Verdict::Retry { delay, attempts } => {
            inner.finished.keep(&key, &ends);
            if attempts > delivery.attempts {
                persist("count the attempt of", &delivery, || inner.bus.record_attempts(&delivery, attempts))
                    .await;
            }
            persist("give back", &delivery, || delivery.nak(delay)).await;
        }
        // Both hand the event back. Whether it stays parked was decided before.
        Verdict::HandBack | Verdict::Park(_) => {
            inner.finished.keep(&key, &ends);
            persist("give back", &delivery, || delivery.nak(Duration::ZERO)).await;
        }
        Verdict::DeadLetter(why) => {
            let info = dead_letter_info(facts, delivery.attempts, &ends, &why);
            // Its runs first: an operator who drops the letter at once changes their state.
            kept(delivery.published_at).await;
            let is_safe = dead_letter(inner, &delivery, &info, stop).await;
            delivery.let_go();
            if is_safe {
                inner.metrics.dead_lettered(&delivery.subject);
                inner.finished.forget(&key);
                inner.parked.forget(&key);
                tracing::error!(
                    nats.subject = delivery.subject, event.id = %masked(&info.event_id), class = %info.failure.class,
                    attempts = info.attempts, reason = %masked(&info.failure.message), "dead letter"
                );
                persist("end", &delivery, || delivery.term()).await;
            } else {
                inner.finished.keep(&key, &ends);
                persist("give back", &delivery, || delivery.nak(DEAD_LETTER_AGAIN)).await;
            }
        }
    }
}

/// Stores the dead letter. The event must not be ended before this has succeeded.
async fn dead_letter(inner: &Inner, delivery: &Delivery, info: &DeadLetterInfo, stop: &Stop) -> bool {
    let mut pauses = Pauses::new(Duration::from_millis(200), Duration::from_secs(10));
    let last = Instant::now() + DEAD_LETTER_WITHIN;
    loop {
        match inner.bus.dead_letter(delivery, info).await {
            Ok(()) => return true,
            Err(error) => {
                tracing::warn!(nats.subject = delivery.subject, error = %error, "the dead letter is not safe yet");
            }
        }
        if Instant::now() + pauses.peek() > last {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(pauses.take()) => {}
            () = stop.draining() => return false,
        }
    }
}

/// Sends an answer a few times. If it never arrives, the event is redelivered, and finds its Jobs ended.
async fn persist<F: Future<Output = bus::Result<()>>>(what: &str, delivery: &Delivery, call: impl Fn() -> F) {
    let mut pauses = Pauses::new(ANSWER_PAUSE, ANSWER_PAUSE * 8);
    for attempt in 1..=ANSWER_TRIES {
        match call().await {
            Ok(()) => return,
            Err(error) if attempt == ANSWER_TRIES || !error.try_again() => {
                tracing::warn!(
                    nats.subject = delivery.subject, sequence = delivery.sequence, error = %error,
                    "could not {what} the event; it comes again and finds its Jobs ended"
                );
                return;
            }
            Err(_) => tokio::time::sleep(pauses.take()).await,
        }
    }
}

fn dead_letter_info(
    facts: Option<&EventFacts>,
    before: u64,
    ends: &[(String, End)],
    why: &Failure,
) -> DeadLetterInfo {
    let failed = ends.iter().filter(|(trigger, end)| *end != End::Done && !trigger.is_empty());
    let failed = failed.map(|(trigger, _)| trigger.clone());
    let tried = ends.iter().any(|(_, end)| matches!(end, End::Failed(_)));
    DeadLetterInfo {
        failure: why.clone(),
        triggers: failed.collect(),
        flow_key: facts.map(|facts| facts.flow_key.clone()).unwrap_or_default(),
        event_id: facts.map(|facts| facts.id.clone()).unwrap_or_default(),
        attempts: before + u64::from(tried),
        first_failed_at: None,
    }
}

fn facts_of(event: &IncomingEvent, arrived: EventFacts) -> EventFacts {
    EventFacts {
        id: event.id().to_owned(),
        event_type: event.event_type().to_owned(),
        source: event.source().to_owned(),
        subject: event.subject().to_owned(),
        correlation_id: event.extension("correlationid"),
        traceparent: event.extension("traceparent"),
        flow_key: customer::id_of(event),
        flow_name: customer::name_of(event),
        ..arrived
    }
}

/// What is known about an event before it is parsed.
fn arrived(delivery: &Delivery) -> EventFacts {
    EventFacts {
        id: String::new(),
        event_type: String::new(),
        source: String::new(),
        subject: String::new(),
        nats_subject: delivery.subject.clone(),
        correlation_id: None,
        traceparent: None,
        flow_key: String::new(),
        flow_name: String::new(),
        replay: delivery.replay,
        published_at: delivery.published_at,
        taken_at: Utc::now(),
        attempt: delivery.attempts + 1,
        delivery: delivery.delivery_count,
    }
}

/// The key of the message, not of the event, because one event id may be used for many events. The time shows when a
/// stream was made again.
fn key_of_message(delivery: &Delivery) -> String {
    format!("{}\n{}\n{}", delivery.subject, delivery.sequence, delivery.published_at)
}
