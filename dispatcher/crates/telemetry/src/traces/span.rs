//! Turns an ended Job into spans: the step is a child of the span that sent its event; its children are wait, start
//! and run; the children of the run are the worker's phases. Pure.
//!
//! Every id is computed from what the span is about, so that reporting a Job twice gives the same spans. The run's id
//! is the one that the worker writes into the events that it emits, so that the next step becomes a child of this
//! run.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::telemetry::{TraceContext, span_id};

use super::sampler::Sampler;
use super::timeline::Timeline;
use job::masked;
use job::{Failure, Outcome, Report};
use job::{JobRun, State};
use shared::event::flow;

/// The longest attribute in characters, because event data may be long.
const MOST_CHARACTERS: usize = 256;

/// The most tries before the last one that become spans.
const MOST_EARLIER: usize = 20;

/// The most ids of emitted events in an attribute.
const MOST_EMITTED: usize = 20;

/// `None` while the Job runs, or if its trace is not kept.
pub(super) fn of(run: &JobRun, sampler: Sampler) -> Option<Vec<Span>> {
    let State::Ended { outcome, .. } = &run.state else { return None };
    let facts = &run.event;
    let correlation = facts.correlation_id.as_deref().unwrap_or(&facts.id);
    // Computed like in the worker, so that both find the same trace if the event names none.
    let trace = TraceContext::parse_or_derive(facts.traceparent.as_deref(), correlation);
    if !sampler.keeps(&trace) {
        return None;
    }
    let line = report(outcome).and_then(Report::fields).unwrap_or_default();
    let time = Timeline::of(run, &line)?;
    let maker = Maker { trace: bytes(trace.trace_id()), status: status(outcome) };
    let seed = seed(run, &time);
    let parent = facts.traceparent.as_deref().and_then(TraceContext::parse);
    let step_id = span_id(&format!("{seed}\nstep"));
    let step = Span {
        kind: SpanKind::Consumer.into(),
        attributes: attributes(run, outcome),
        status: maker.status.clone(),
        ..maker.span(
            &format!("process {}", run.event.nats_subject),
            &step_id,
            parent.as_ref().map(TraceContext::parent_id),
            (time.begin, time.ended),
        )
    };
    let child = |name: &str, from, to| {
        maker.span(name, &span_id(&format!("{seed}\n{name}")), Some(&step_id), (from, to))
    };
    let mut spans = vec![step, child("wait", time.begin, time.handed)];
    let Some(started) = time.started else { return Some(spans) };
    spans.push(child("start", time.handed, started));
    let run_id = run_id(run, outcome, &line, &seed);
    spans.push(Span {
        attributes: said(&line),
        events: events(run, outcome, &line, &time),
        status: maker.status.clone(),
        ..maker.span("run", &run_id, Some(&step_id), (started, time.ended))
    });
    spans.extend(time.phases.iter().map(|phase| {
        let id = span_id(&format!("{seed}\nphase {}", phase.name));
        maker.span(&phase.name, &id, Some(&run_id), (phase.from, phase.to))
    }));
    Some(spans)
}

/// Identifies this run: the same for every dispatcher that reports it, and different for the next try of the same
/// event.
fn seed(run: &JobRun, time: &Timeline) -> String {
    let State::Ended { started_at, .. } = &run.state else { return String::new() };
    let which = match started_at {
        Some(at) => at.timestamp_millis().to_string(),
        None => format!("{} {}", run.event.delivery, time.handed.timestamp_millis()),
    };
    format!("{}\n{}\n{}/{}\n{which}", run.event_hash, run.trigger, run.namespace, run.name)
}

/// The id that the worker's events name as their parent, for the run that ended the step. Runs that failed before it,
/// and a second delivery of a handled event, get another one.
fn run_id(run: &JobRun, outcome: &Outcome, line: &Value, seed: &str) -> String {
    let State::Ended { tries, .. } = &run.state else { return String::new() };
    let second =
        line["outcome"] == "repeated" && run.event.delivery == 1 && *tries == 1 && run.event.replay == 0;
    match (outcome, line["step"].as_str()) {
        (Outcome::Complete { .. }, Some(step)) if !second => span_id(&format!("{}\n{step}", run.event.id)),
        _ => span_id(&format!("{seed}\nrun")),
    }
}

struct Maker {
    trace: Vec<u8>,
    status: Option<Status>,
}

impl Maker {
    fn span(
        &self,
        name: &str,
        id: &str,
        parent: Option<&str>,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
    ) -> Span {
        Span {
            trace_id: self.trace.clone(),
            span_id: bytes(id),
            parent_span_id: parent.map(bytes).unwrap_or_default(),
            flags: 1, // sampled
            name: cut(&masked(name)),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: nanoseconds(from),
            end_time_unix_nano: nanoseconds(to),
            ..Span::default()
        }
    }
}

/// Uses the names of OpenTelemetry's conventions for messaging, CloudEvents, containers and Kubernetes, if there are
/// any.
fn attributes(run: &JobRun, outcome: &Outcome) -> Vec<KeyValue> {
    let facts = &run.event;
    let State::Ended { tries, adopted, .. } = &run.state else { return Vec::new() };
    vec![
        text("messaging.operation.type", "process"),
        text("messaging.destination.name", &facts.nats_subject),
        text("messaging.message.id", &facts.id),
        text("cloudevents.event_id", &facts.id),
        text("cloudevents.event_source", &facts.source),
        text("cloudevents.event_type", &facts.event_type),
        text("cloudevents.event_subject", &facts.subject),
        text("k8s.namespace.name", &run.namespace),
        text("k8s.job.name", &run.name),
        text("container.image.name", &run.image),
        text("knapscen.trigger", &run.trigger),
        text(flow::ATTRIBUTE, &facts.flow_key),
        text("knapscen.outcome", crate::metrics::JobOutcome::of_outcome(outcome).as_str()),
        number("knapscen.delivery", facts.delivery),
        number("knapscen.replay", facts.replay),
        number("knapscen.tries", *tries),
        attribute("knapscen.adopted", Any::BoolValue(*adopted)),
    ]
}

/// What the worker reports about its run.
fn said(line: &Value) -> Vec<KeyValue> {
    let text = ["step", "outcome"]
        .into_iter()
        .filter_map(|name| Some(text(&format!("knapscen.worker.{name}"), line[name].as_str()?)));
    text.chain(line["exit_code"].as_i64().map(|code| number("process.exit.code", code))).collect()
}

/// Every try of this delivery with its end, and what the last one emitted.
fn events(run: &JobRun, outcome: &Outcome, line: &Value, time: &Timeline) -> Vec<Event> {
    let State::Ended { tries, earlier, .. } = &run.state else { return Vec::new() };
    let at = |at, name: &str, attributes| Event {
        time_unix_nano: nanoseconds(at),
        name: name.to_owned(),
        attributes,
        ..Event::default()
    };
    let event = |name: &str, attributes| at(time.ended, name, attributes);
    let attempt = |which: u32, failure: Option<(Option<i32>, &str)>| {
        let mut attributes =
            vec![number("knapscen.delivery", run.event.delivery), number("knapscen.try", which)];
        if let Some((code, message)) = failure {
            attributes.extend(code.map(|code| number("process.exit.code", code)));
            attributes.push(text("error.message", message));
        }
        attributes
    };
    // `last` is the last of all tries; the others come before it.
    let known = earlier.len().min(MOST_EARLIER);
    let first = tries.saturating_sub(u32::try_from(known).unwrap_or(u32::MAX)).max(1);
    let numbered = (first..).zip(earlier.iter().skip(earlier.len() - known));
    let earlier = numbered.map(|(which, one)| {
        let ended = one.ended_at.clamp(time.started.unwrap_or(time.handed), time.ended);
        at(ended, "attempt", attempt(which, Some((one.exit_code, &one.message))))
    });
    let emitted =
        line["emitted"].as_array().into_iter().flatten().take(MOST_EMITTED).filter_map(Value::as_str);
    let emitted = emitted.map(|id| event("emitted", vec![text("cloudevents.event_id", id)]));
    earlier.chain([event("attempt", attempt(*tries, failure(outcome)))]).chain(emitted).collect()
}

fn status(outcome: &Outcome) -> Option<Status> {
    let (_, message) = failure(outcome)?;
    Some(Status { code: StatusCode::Error.into(), message: cut(&masked(message)) })
}

fn failure(outcome: &Outcome) -> Option<(Option<i32>, &str)> {
    match outcome {
        Outcome::Failed(Failure { exit_code, message, .. })
        | Outcome::TryAgain(Failure { exit_code, message, .. }) => Some((*exit_code, message)),
        Outcome::Complete { .. } | Outcome::Stopped => None,
    }
}

fn report(outcome: &Outcome) -> Option<&Report> {
    match outcome {
        Outcome::Complete { report }
        | Outcome::Failed(Failure { report, .. })
        | Outcome::TryAgain(Failure { report, .. }) => Some(report),
        Outcome::Stopped => None,
    }
}

/// With addresses masked, cut to [`MOST_CHARACTERS`].
pub(super) fn text(name: &str, value: &str) -> KeyValue {
    attribute(name, Any::StringValue(cut(&masked(value))))
}

fn number(name: &str, value: impl TryInto<i64>) -> KeyValue {
    attribute(name, Any::IntValue(value.try_into().unwrap_or(i64::MAX)))
}

fn attribute(name: &str, value: Any) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_CHARACTERS).collect()
}

fn nanoseconds(at: DateTime<Utc>) -> u64 {
    at.timestamp_nanos_opt().and_then(|ns| u64::try_from(ns).ok()).unwrap_or_default()
}

/// Parses an even number of hex digits.
fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    hex.as_bytes().chunks_exact(2).filter_map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
