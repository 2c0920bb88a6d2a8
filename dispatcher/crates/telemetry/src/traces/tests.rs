//! The spans of an ended Job, and a queue that is full.

use chrono::{DateTime, TimeDelta, Utc};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use shared::config::Environment;
use shared::telemetry::TraceContext;

use super::*;
use job::{EventFacts, State};
use job::{Failure, FailureClass, Outcome, Ran, Report, Try};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn at(milliseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::milliseconds(milliseconds)
}

fn settings(more: &[(&str, &str)]) -> Settings {
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
    let pairs = endpoint.iter().chain(more).copied();
    Settings::read(&Environment::from_pairs(pairs)).unwrap().unwrap()
}

fn complete(line: &str) -> Outcome {
    Outcome::Complete { report: Report::from_text(line) }
}

fn try_again(line: &str) -> Outcome {
    Outcome::TryAgain(Failure {
        class: FailureClass::BackoffLimitExceeded,
        exit_code: Some(75),
        message: "ann@x.example is unavailable".to_owned(),
        report: Report::from_text(line),
    })
}

/// Published at 0, taken at 10, handed to the backend at 20, started at 30, ended at 100.
fn run(traceparent: Option<&str>, attempt: u64, outcome: Outcome) -> JobRun {
    let facts = EventFacts {
        id: "e-1".to_owned(),
        event_type: "disco.knapscen.item.saved".to_owned(),
        source: "knapscen.disco".to_owned(),
        subject: "c-1".to_owned(),
        nats_subject: "item-saved".to_owned(),
        correlation_id: None,
        traceparent: traceparent.map(str::to_owned),
        flow_key: "c-1".to_owned(),
        flow_name: "TechCorp".to_owned(),
        replay: 0,
        published_at: at(0),
        taken_at: at(10),
        attempt: 1,
        delivery: attempt,
    };
    let running = JobRun {
        trigger: "item-saved-trigger".to_owned(),
        namespace: "default".to_owned(),
        name: "item-saved-c-1".to_owned(),
        image: "knapscen/save-item:latest".to_owned(),
        event_hash: "hash".to_owned(),
        event: Arc::new(facts),
        handed_at: at(20),
        state: State::Running,
    };
    let mut ended =
        running.ended(&Ran { outcome, tries: 1, started_at: Some(at(30).into()), ..Ran::stopped() });
    if let State::Ended { ended_at, .. } = &mut ended.state {
        *ended_at = at(100);
    }
    ended
}

const LINE: &str = r#"{"step":"save-item","outcome":"done","exit_code":0,"started_at":"2023-11-14T22:13:20.040Z",
    "timings_ms":{"act":1,"connect":10,"publish":5.5,"total":50,"validate":2},"emitted":["e-2"]}"#;

fn spans(run: &JobRun) -> Vec<Span> {
    span::of(run, settings(&[]).sampler).unwrap()
}

fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap()
}

/// Milliseconds after the event was published.
fn times(span: &Span) -> (i64, i64) {
    let after = |ns: u64| (DateTime::from_timestamp_nanos(ns.cast_signed()) - at(0)).num_milliseconds();
    (after(span.start_time_unix_nano), after(span.end_time_unix_nano))
}

#[test]
fn a_step_is_its_wait_its_start_its_run_and_the_workers_phases_in_their_order() {
    let spans = spans(&run(Some(TRACE), 1, complete(LINE)));
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        ["process item-saved", "wait", "start", "run", "validate", "connect", "act", "publish"]
    );
    let found: Vec<_> = spans.iter().map(times).collect();
    assert_eq!(found, [(0, 100), (0, 20), (20, 40), (40, 100), (40, 42), (42, 52), (52, 53), (53, 58)]);
    assert_eq!(spans[0].parent_span_id, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    assert!(spans[1..4].iter().all(|span| span.parent_span_id == spans[0].span_id));
    assert!(spans[4..].iter().all(|span| span.parent_span_id == spans[3].span_id));
}

#[test]
fn the_next_step_hangs_under_the_run_that_sent_its_event() {
    // Computed like in the worker.
    let trace = TraceContext::parse(TRACE).unwrap();
    let sent = trace.child("e-1\nsave-item").to_string();
    let first = spans(&run(Some(TRACE), 1, complete(LINE)));
    let next = spans(&run(Some(&sent), 1, complete(LINE)));
    assert_eq!(next[0].parent_span_id, one(&first, "run").span_id);
    assert_eq!(next[0].trace_id, first[0].trace_id);
}

#[test]
fn an_event_without_a_trace_begins_the_one_that_its_worker_goes_on_with() {
    let first = spans(&run(None, 1, complete(LINE)));
    let worker = TraceContext::parse_or_derive(None, "e-1");
    let next = spans(&run(Some(&worker.child("e-1\nsave-item").to_string()), 1, complete(LINE)));
    assert!(first[0].parent_span_id.is_empty());
    assert_eq!(
        (&next[0].trace_id, &next[0].parent_span_id),
        (&first[0].trace_id, &one(&first, "run").span_id)
    );
}

#[test]
fn a_job_told_twice_is_the_same_spans_and_another_try_is_others() {
    let ids = |run: &JobRun| spans(run).into_iter().map(|span| span.span_id).collect::<Vec<_>>();
    let first = run(Some(TRACE), 1, complete(LINE));
    let mut adopted = run(Some(TRACE), 2, complete(LINE));
    if let State::Ended { adopted, .. } = &mut adopted.state {
        *adopted = true;
    }
    assert_eq!(ids(&first), ids(&adopted));
    assert_eq!(times(&spans(&adopted)[0]), (0, 100));
    let mut failed = run(Some(TRACE), 1, try_again(LINE));
    if let State::Ended { started_at, .. } = &mut failed.state {
        *started_at = Some(at(25));
    }
    let (failed, first) = (ids(&failed), ids(&first));
    assert!(failed.iter().all(|id| !first.contains(id)), "{failed:?} {first:?}");
}

#[test]
fn a_second_message_of_a_handled_event_does_not_take_the_place_of_the_first() {
    let first = spans(&run(Some(TRACE), 1, complete(LINE)));
    let again = spans(&run(Some(TRACE), 1, complete(&LINE.replace("done", "repeated"))));
    assert_ne!(one(&first, "run").span_id, one(&again, "run").span_id);
    // The run that repeats after a crash is the one that ended the step.
    let after_crash = spans(&run(Some(TRACE), 2, complete(&LINE.replace("done", "repeated"))));
    assert_eq!(one(&first, "run").span_id, one(&after_crash, "run").span_id);
}

#[test]
fn a_failure_is_an_error_with_a_masked_reason() {
    let spans = spans(&run(Some(TRACE), 3, try_again("no json")));
    let run = one(&spans, "run");
    let status = run.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.contains("ann@")), (2, false), "{}", status.message);
    assert_eq!(times(&spans[0]), (10, 100));
    assert_eq!(run.events[0].name, "attempt");
}

#[test]
fn no_attribute_tells_an_address_that_an_event_put_somewhere() {
    let mut run = run(Some(TRACE), 1, complete(LINE));
    let address = || "ann@example.com".to_owned();
    run.event = Arc::new(EventFacts {
        id: address(),
        source: address(),
        subject: address(),
        nats_subject: address(),
        flow_key: address(),
        ..(*run.event).clone()
    });
    let spans = format!("{:?}", spans(&run));
    assert!(spans.contains("a***@example.com") && !spans.contains("ann@"), "{spans}");
}

#[test]
fn every_try_of_a_job_is_an_event_at_its_own_time() {
    let mut run = run(Some(TRACE), 1, complete(LINE));
    if let State::Ended { tries, earlier, .. } = &mut run.state {
        *tries = 4;
        // The first one is not known any more. A clock that is behind does not change the order.
        *earlier = [(60, "no database"), (5, "no database of ann@example.com")]
            .map(|(ms, message)| Try { ended_at: at(ms), exit_code: Some(75), message: message.to_owned() })
            .into();
    }
    let spans = spans(&run);
    let attempts: Vec<_> = one(&spans, "run").events.iter().filter(|event| event.name == "attempt").collect();
    let after = |ns: u64| (DateTime::from_timestamp_nanos(ns.cast_signed()) - at(0)).num_milliseconds();
    let told: Vec<_> = attempts.iter().map(|event| after(event.time_unix_nano)).collect();
    assert_eq!(told, [60, 30, 100]);
    let which = |event: &&Event| event.attributes.iter().find(|one| one.key == "knapscen.try").cloned();
    let numbers: Vec<_> = attempts.iter().map(which).map(|one| format!("{:?}", one.unwrap().value)).collect();
    assert!(
        numbers[0].contains("(2)") && numbers[1].contains("(3)") && numbers[2].contains("(4)"),
        "{numbers:?}"
    );
    assert!(!format!("{attempts:?}").contains("ann@"), "{attempts:?}");
}

#[test]
fn a_job_that_was_never_started_has_no_run() {
    let mut run = run(None, 1, try_again(""));
    if let State::Ended { started_at, .. } = &mut run.state {
        *started_at = None;
    }
    let names: Vec<_> = spans(&run).into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["process item-saved", "wait"]);
}

#[test]
fn hostile_words_and_clocks_make_no_large_or_backward_spans() {
    let long = "😀".repeat(100_000);
    let names: Vec<_> = (0..1000).map(|number| format!(r#""{number}{}":1e300"#, "x".repeat(20))).collect();
    let line = format!(
        r#"{{"step":"s","started_at":"9999-01-01T00:00:00Z","timings_ms":{{"validate":-5,"connect":1e9,{}}}}}"#,
        names[..20].join(",")
    );
    let mut run = run(Some(TRACE), 1, complete(&line));
    run.name.clone_from(&long);
    run.event =
        Arc::new(EventFacts { id: long.clone(), published_at: at(1_000_000), ..(*run.event).clone() });
    let spans = spans(&run);
    assert!(spans.iter().all(|span| span.start_time_unix_nano <= span.end_time_unix_nano), "{spans:?}");
    let bytes: usize = spans.iter().map(prost::Message::encoded_len).sum();
    assert!(bytes < 20_000, "{bytes}");
}

#[tokio::test]
async fn what_has_no_room_is_counted_and_never_waited_for() {
    let metrics = Metrics::default();
    let settings = settings(&[("OTEL_BSP_MAX_QUEUE_SIZE", "20"), ("OTEL_BSP_SCHEDULE_DELAY", "100000")]);
    let (traces, sending) = Traces::start(settings, metrics.clone()).unwrap();
    for _ in 0..5 {
        traces.record(&run(Some(TRACE), 1, complete(LINE)));
    }
    let text = metrics.text();
    assert!(text.contains("dispatcher_spans_waiting 16") && text.contains("{reason=\"full\"} 24"), "{text}");
    sending.close(Duration::ZERO).await;
    assert!(metrics.text().contains("{reason=\"stopped\"} 16"), "{}", metrics.text());
}
