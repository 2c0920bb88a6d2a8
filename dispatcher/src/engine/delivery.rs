//! One delivery from its arrival to its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::Value;

use super::stop::Stop;
use super::verdict::{End, Verdict, Why, verdict};
use super::{Inner, job};
use crate::backend::Again;
use crate::bus::{DeadLetterInfo, Delivery};
use crate::logging::masked;
use crate::manifest::SyncMode;
use crate::metrics::JobOutcome;
use crate::observer::Cause;
use crate::plan::{self, Action, Identity, IncomingEvent, PlanError, PlannedJob, Stage, TriggerPlan};

/// A message up to this size is planned at once: a change of thread takes longer than the planning.
const PLANNED_HERE: usize = 16 << 10;

/// How often an answer is tried before the lease is left to run out.
const ANSWER_TRIES: u32 = 5;

pub(super) async fn handle(inner: &Arc<Inner>, delivery: Delivery, stop: &Stop) {
    inner.metrics.received(&delivery.subject, delivery.attempt > 1);
    let beat = async {
        loop {
            tokio::time::sleep(delivery.lease / 3).await;
            if let Err(error) = delivery.in_progress().await {
                tracing::debug!(nats.subject = delivery.subject, error = %error, "the lease was not renewed");
            }
        }
    };
    tokio::select! {
        () = decide_and_answer(inner, &delivery, stop) => {}
        () = beat => {}
    }
}

async fn decide_and_answer(inner: &Arc<Inner>, delivery: &Delivery, stop: &Stop) {
    let taken_at = Utc::now();
    let event = match IncomingEvent::parse(&delivery.subject, &delivery.headers, &delivery.payload) {
        Ok(event) => event.replayed(delivery.replay),
        Err(error) => {
            let why = Why { class: "NotACloudEvent".into(), reason: error.to_string(), ..Why::default() };
            return answer(inner, delivery, None, Vec::new(), Verdict::DeadLetter(why), stop).await;
        }
    };
    let cause = Arc::new(cause(delivery, &event, taken_at));
    if event.hop_count() > shared::event::MAX_HOPS {
        let reason =
            format!("{} hops are a loop; {} are allowed", event.hop_count(), shared::event::MAX_HOPS);
        let why = Why { class: "HopLimit".into(), reason, ..Why::default() };
        job::refused(inner, &cause, None, &why.reason);
        return answer(inner, delivery, Some(&event), Vec::new(), Verdict::DeadLetter(why), stop).await;
    }
    let plans = match plan_safely(inner, delivery, &event).await {
        Ok(plans) => plans,
        Err(why) => {
            job::refused(inner, &cause, None, &why.reason);
            return answer(inner, delivery, Some(&event), Vec::new(), Verdict::DeadLetter(why), stop).await;
        }
    };
    if plans.is_empty() {
        inner.metrics.unmatched(&delivery.subject);
    }
    let ends = run_triggers(inner, delivery, &cause, plans, stop).await;
    let only_ends: Vec<_> = ends.iter().map(|(_, end)| end.clone()).collect();
    let verdict = verdict(&only_ends, delivery.attempt, inner.settings.max_attempts);
    answer(inner, delivery, Some(&event), ends, verdict, stop).await;
}

/// The plans of all matching triggers. A bug in them must end with its event, and a long event must hold up no other.
async fn plan_safely(
    inner: &Arc<Inner>,
    delivery: &Delivery,
    event: &IncomingEvent,
) -> Result<Vec<TriggerPlan>, Why> {
    let planned = if delivery.payload.len() <= PLANNED_HERE {
        catch_unwind(AssertUnwindSafe(|| plans(inner, event))).map_err(|_| "a panic".to_owned())
    } else {
        let (inner, event) = (Arc::clone(inner), event.clone());
        let apart = tokio::task::spawn_blocking(move || plans(&inner, &event));
        apart.await.map_err(|error| error.to_string())
    };
    planned.map_err(|error| Why {
        class: "Bug".into(),
        reason: format!("the event could not be planned: {error}"),
        ..Why::default()
    })
}

fn plans(inner: &Inner, event: &IncomingEvent) -> Vec<TriggerPlan> {
    let (cluster, policy) = (&inner.settings.cluster, &inner.settings.policy);
    let (current, earlier) = inner.rules.sets();
    let mut plans = plan::plan(event, &current, cluster, policy);
    // The manifests may have been others when the last event of this identity came.
    for plan in &mut plans {
        let was_other = |set: &Arc<_>| plan::was_other(event, plan, &current, set, cluster, policy);
        if earlier.iter().any(was_other)
            && let Ok(Action::Create { varies, .. }) = &mut plan.outcome
        {
            *varies = true;
        }
    }
    plans
}

/// Every trigger that has not ended yet, all at once.
async fn run_triggers(
    inner: &Arc<Inner>,
    delivery: &Delivery,
    cause: &Arc<Cause>,
    plans: Vec<TriggerPlan>,
    stop: &Stop,
) -> Vec<(String, End)> {
    let known = inner.memory.ends_of(&memory_key(delivery));
    let mut ends = Vec::with_capacity(plans.len());
    let mut running = tokio::task::JoinSet::new();
    for plan in plans {
        inner.metrics.matched(&plan.trigger);
        if let Some(end) = known.get(&plan.trigger) {
            ends.push((plan.trigger, end.clone()));
            continue;
        }
        let (inner, cause, stop) = (Arc::clone(inner), Arc::clone(cause), stop.clone());
        running.spawn(async move {
            let trigger = plan.trigger.clone();
            let end = run_trigger(&inner, &cause, plan, &stop).await;
            (trigger, end)
        });
    }
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(end) => ends.push(end),
            // A bug of ours in one trigger: the event is kept, and the others are not disturbed.
            Err(error) => {
                let reason = format!("the dispatcher failed: {error}");
                ends.push((
                    String::new(),
                    End::TryAgain(Why { class: "Bug".into(), reason, ..Why::default() }),
                ));
            }
        }
    }
    ends
}

async fn run_trigger(inner: &Inner, cause: &Arc<Cause>, plan: TriggerPlan, stop: &Stop) -> End {
    let trigger = &plan.trigger;
    let action = match &plan.outcome {
        Ok(action) => action,
        Err(error) => return unplanned(inner, cause, &plan, error),
    };
    match action {
        Action::Skip(_) | Action::Create { sync: SyncMode::DryRun, .. } => {
            inner.metrics.job_ended(trigger, JobOutcome::Skipped);
            End::Done
        }
        Action::Delete { identity } => delete(inner, cause, trigger, identity, stop).await,
        Action::Create { sync, jobs, varies } => {
            let again = if *sync == SyncMode::OneTime { Again::Never } else { Again::Replace };
            let mut end = End::Done;
            for job in jobs {
                end = end.worse(job::run(inner, cause, trigger, job, again, stop).await);
            }
            if end == End::Done && *varies {
                end = prune(inner, &plan.identity, jobs, stop).await;
            }
            end
        }
    }
}

/// For good, but for a text that is not there: it may come.
fn unplanned(inner: &Inner, cause: &Arc<Cause>, plan: &TriggerPlan, error: &PlanError) -> End {
    let why = Why { class: format!("Plan-{}", error.stage), reason: error.to_string(), ..Why::default() };
    let may_pass = error.stage == Stage::Missing;
    if !may_pass || cause.attempt >= inner.settings.max_attempts {
        job::refused(inner, cause, Some(&plan.trigger), &why.reason);
    }
    if may_pass { End::TryAgain(why) } else { End::Failed(why) }
}

/// What the trigger made for this identity goes. Half of it is nothing lost: whoever gets the event next goes on.
async fn delete(inner: &Inner, cause: &Cause, trigger: &str, identity: &Identity, stop: &Stop) -> End {
    let deleted = tokio::select! {
        deleted = inner.backend.delete(identity) => deleted,
        () = stop.draining() => {
            inner.metrics.job_ended(trigger, JobOutcome::Stopped);
            return End::Stopped;
        }
    };
    let (event_id, attempt) = (&cause.id, cause.attempt);
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
            End::TryAgain(Why { class: "Delete".into(), reason: error.to_string(), ..Why::default() })
        }
    }
}

/// What is not rendered any more for this identity goes. Its Jobs are done: a stop that lets Jobs end lets this end as well.
async fn prune(inner: &Inner, identity: &Identity, jobs: &[PlannedJob], stop: &Stop) -> End {
    // Without a subject all events of a source would be one thing.
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
        Err(error) => {
            End::TryAgain(Why { class: "Prune".into(), reason: error.to_string(), ..Why::default() })
        }
    }
}

async fn answer(
    inner: &Arc<Inner>,
    delivery: &Delivery,
    event: Option<&IncomingEvent>,
    ends: Vec<(String, End)>,
    verdict: Verdict,
    stop: &Stop,
) {
    let key = memory_key(delivery);
    let gone = matches!(verdict, Verdict::Ack) && !ends.is_empty();
    if gone || matches!(verdict, Verdict::DeadLetter(_)) {
        // An event that never comes again must not be without its run, should this process end now.
        inner.observer.until_kept().await;
    }
    match verdict {
        Verdict::Ack => {
            persist("acknowledge", delivery, || delivery.ack()).await;
            inner.memory.forget(&key);
        }
        Verdict::Retry(delay, _) => {
            inner.memory.keep(&key, &ends);
            persist("give back", delivery, || delivery.nak(delay)).await;
        }
        Verdict::HandBack => {
            inner.memory.keep(&key, &ends);
            persist("give back", delivery, || delivery.nak(Duration::ZERO)).await;
        }
        Verdict::DeadLetter(why) => {
            let info = dead_letter_info(event, &ends, &why);
            if dead_letter(inner, delivery, &info, stop).await {
                inner.metrics.dead_lettered(&delivery.subject);
                inner.memory.forget(&key);
                tracing::error!(
                    nats.subject = delivery.subject, event.id = %masked(&info.event_id), class = info.class,
                    attempts = delivery.attempt, reason = %masked(&info.reason), "dead letter"
                );
                persist("end", delivery, || delivery.term()).await;
            }
        }
    }
}

/// Until it is durable: an event must not be ended before its dead letter is safe.
async fn dead_letter(inner: &Inner, delivery: &Delivery, info: &DeadLetterInfo, stop: &Stop) -> bool {
    let mut pause = Duration::from_millis(200);
    loop {
        match inner.bus.dead_letter(delivery, info).await {
            Ok(()) => return true,
            Err(error) => {
                tracing::warn!(nats.subject = delivery.subject, error = %error, "the dead letter is not safe yet");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(10)),
            () = stop.draining() => return false,
        }
    }
}

/// Tries an answer a few times. One that never arrives means a redelivery, which finds its Jobs ended.
async fn persist<F: Future<Output = crate::bus::Result<()>>>(
    what: &str,
    delivery: &Delivery,
    call: impl Fn() -> F,
) {
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
            Err(_) => tokio::time::sleep(Duration::from_millis(200 << attempt)).await,
        }
    }
}

fn dead_letter_info(event: Option<&IncomingEvent>, ends: &[(String, End)], why: &Why) -> DeadLetterInfo {
    let failed = ends.iter().filter(|(_, end)| *end != End::Done).map(|(trigger, _)| trigger.clone());
    DeadLetterInfo {
        reason: why.reason.clone(),
        class: why.class.clone(),
        triggers: failed.collect(),
        message: why.message.clone(),
        customer: event.map(customer_of).unwrap_or_default(),
        event_id: event.map(|event| event.id().to_owned()).unwrap_or_default(),
        first_failed_at: None,
    }
}

fn cause(delivery: &Delivery, event: &IncomingEvent, taken_at: chrono::DateTime<Utc>) -> Cause {
    Cause {
        id: event.id().to_owned(),
        event_type: event.event_type().to_owned(),
        source: event.source().to_owned(),
        subject: event.subject().to_owned(),
        nats_subject: delivery.subject.clone(),
        correlation_id: event.extension("correlationid"),
        traceparent: event.extension("traceparent"),
        customer: customer_of(event),
        customer_name: name_of(event),
        replay: delivery.replay,
        published_at: delivery.published_at,
        taken_at,
        attempt: delivery.attempt,
    }
}

/// Whom an event is about: the customer its data names, or its subject.
pub(crate) fn customer_of(event: &IncomingEvent) -> String {
    let data = event.view().get("data");
    let field = |name: &str| data.and_then(|data| data.get(name)).and_then(Value::as_str);
    field("customer_id").unwrap_or_else(|| event.subject()).to_owned()
}

/// The customer's name; in an event about a user `name` is the user's.
fn name_of(event: &IncomingEvent) -> String {
    let data = event.view().get("data");
    let field = |name: &str| data.and_then(|data| data.get(name)).and_then(Value::as_str);
    let own = || field("name").filter(|_| field("user_id").is_none());
    field("customer_name").or_else(own).unwrap_or_default().to_owned()
}

/// The message, not the event: people use one event id for many events. The time tells a stream made anew apart.
fn memory_key(delivery: &Delivery) -> String {
    format!("{}\n{}\n{}", delivery.subject, delivery.sequence, delivery.published_at)
}
