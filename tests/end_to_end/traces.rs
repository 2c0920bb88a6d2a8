//! Traces as a collector receives them: complete, linked, once, and never delaying the flow.

use std::collections::{BTreeMap, BTreeSet};

use shared::telemetry::PHASES;
use tests::collector::{Collector, Mode, Span};
use tests::program::Program;
use tests::{http, vendor, wait};

use crate::system::{Dispatcher, LIMIT, System, registration, shipped_events, start_dispatcher};

fn traced(system: &System, collector: &Collector, more: &[(&str, &str)]) -> Dispatcher {
    let mut program = Program::dispatcher()
        .settings(system.nats.settings())
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .set("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=knapscen%20test")
        .set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .set("OTEL_BSP_SCHEDULE_DELAY", "100");
    for (name, value) in more {
        program = program.set(name, value);
    }
    start_dispatcher(program, &system.scratch, &system.secret(), &shipped_events(), "state")
}

/// Waits until the run of every Job of this many customers was received.
fn until_runs(collector: &Collector, customers: usize) -> Vec<Span> {
    wait::until(LIMIT, "every run has come", || {
        let spans = collector.spans();
        (named(&spans, "run").len() >= 9 * customers).then_some(spans)
    })
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// Checks that each step of one customer's trace has wait, start, run and the worker's phases, and is linked to the
/// run that sent its event.
fn check_trace(spans: &[Span]) {
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "an id occurs twice");
    let steps: Vec<_> = spans.iter().filter(|span| span.name.starts_with("process ")).collect();
    let mut names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "process customer-registered",
            "process customer-saved",
            "process marketing-notified",
            "process swag-ordered",
            "process touchpoints-created",
            "process user-saved",
            "process user-saved",
            "process user-saved",
            "process welcome-email-sent",
        ]
    );
    let before = BTreeMap::from([
        ("process customer-saved", "process customer-registered"),
        ("process user-saved", "process customer-saved"),
        ("process welcome-email-sent", "process user-saved"),
        ("process marketing-notified", "process welcome-email-sent"),
        ("process swag-ordered", "process marketing-notified"),
        ("process touchpoints-created", "process swag-ordered"),
    ]);
    for step in &steps {
        let children: BTreeMap<_, _> = spans
            .iter()
            .filter(|span| span.parent == step.id)
            .map(|span| (span.name.as_str(), span))
            .collect();
        assert_eq!(children.keys().copied().collect::<Vec<_>>(), ["run", "start", "wait"], "{}", step.name);
        let (wait, start, run) = (children["wait"], children["start"], children["run"]);
        let edges = [step.from, wait.from, wait.to, start.from, start.to, run.from, run.to, step.to];
        assert!(edges.is_sorted(), "{}: {edges:?}", step.name);
        assert_eq!((wait.to, start.to, run.to), (start.from, run.from, step.to), "{}", step.name);
        let phases: Vec<_> = spans
            .iter()
            .filter(|span| span.parent == run.id && PHASES.contains(&span.name.as_str()))
            .collect();
        // A step without an effect outside of the database has no phase for one.
        let acts = ["welcome-email-sent", "marketing-notified", "swag-ordered", "touchpoints-created"];
        let acts = acts.iter().any(|event| step.name.ends_with(event));
        let expected: Vec<_> = PHASES.into_iter().filter(|phase| acts || *phase != "act").collect();
        let found: Vec<_> = phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(found, expected, "{}", step.name);
        let inside =
            phases.iter().all(|phase| run.from <= phase.from && phase.from <= phase.to && phase.to <= run.to);
        assert!(inside && phases.is_sorted_by_key(|phase| phase.from), "{phases:?}");
        assert!(phases.iter().any(|phase| phase.from < phase.to), "no phase took any time");
        let attempts = run.events.iter().filter(|(name, _)| name == "attempt").count();
        assert!(attempts > 0, "{}", step.name);
        if let Some(before) = before.get(step.name.as_str()) {
            let sender = by_id[step.parent.as_str()];
            assert_eq!((sender.name.as_str(), by_id[sender.parent.as_str()].name.as_str()), ("run", *before));
        }
    }
}

#[test]
fn each_customer_is_one_trace_from_the_first_event_to_the_last() {
    let system = System::start();
    let collector = Collector::start();
    let dispatcher = traced(&system, &collector, &[]);
    let without = registration("Derived Ltd");
    let mut with = registration("Given Ltd");
    with["traceparent"] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into();
    let mut unsampled = registration("Unsampled Ltd");
    unsampled["traceparent"] = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".into();
    for event in [&without, &with, &unsampled] {
        system.publish(event);
    }
    system.until_onboarded(3);
    until_runs(&collector, 2);
    // Spans that still wait are sent at the stop.
    assert_eq!(dispatcher.running.terminate().code, Some(0));
    let spans = collector.spans();
    let mut traces: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for span in &spans {
        traces.entry(&span.trace).or_default().push(span.clone());
    }
    assert_eq!(traces.len(), 2, "{:?}", traces.keys());
    for (event, root) in [(&without, ""), (&with, "00f067aa0ba902b7")] {
        let ours = |span: &&Span| {
            span.attributes.get("cloudevents.event_id").is_some_and(|id| event["id"] == id.as_str())
        };
        let first = spans.iter().find(ours).expect("the first step");
        assert_eq!((first.name.as_str(), first.parent.as_str()), ("process customer-registered", root));
        let trace = &traces[first.trace.as_str()];
        check_trace(trace);
        let customers: BTreeSet<_> =
            trace.iter().filter_map(|span| span.attributes.get("knapscen.customer")).collect();
        assert_eq!(customers.len(), 1, "{customers:?}");
        // It includes the last event, which starts nothing.
        let last = system.nats.events("customer-onboarded");
        let last = last.iter().find(|last| last["correlationid"] == event["id"]).expect("the end");
        assert!(last["traceparent"].as_str().unwrap_or_default().contains(&first.trace));
        let emitted = |span: &&Span| {
            span.events.iter().any(|(name, attributes)| {
                name == "emitted" && last["id"] == attributes["cloudevents.event_id"].as_str()
            })
        };
        let end = trace.iter().find(emitted).expect("the run that ends the flow");
        assert_eq!(trace.iter().map(|span| span.to).max(), Some(end.to));
    }
    assert!(traces.contains_key("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(spans[0].resource["service.name"], "knapscen-dispatcher");
    assert_eq!(spans[0].resource["deployment.environment.name"], "test");
    assert_eq!(collector.header("x-tenant").as_deref(), Some("knapscen test"));
}

#[test]
fn a_collector_that_is_away_gets_every_span_when_it_is_back() {
    let system = System::start();
    let mut collector = Collector::away();
    let dispatcher = traced(&system, &collector, &[]);
    system.publish(&registration("Patient Ltd"));
    system.until_onboarded(1);
    collector.set(Mode::Status(503));
    collector.come();
    wait::until(LIMIT, "it was asked and said no", || (collector.requests() > 1).then_some(()));
    assert_eq!(collector.spans(), []);
    collector.set(Mode::Ok);
    check_trace(&until_runs(&collector, 1));
    let metrics = http::get(dispatcher.port, "/metrics").expect("metrics").body;
    assert!(metrics.contains("dispatcher_spans_lost_total{reason=\"full\"} 0"), "{metrics}");
    system.check_books(1);
}

#[test]
fn a_collector_that_hangs_holds_up_neither_the_flow_nor_the_stop() {
    let system = System::start();
    let collector = Collector::start();
    collector.set(Mode::Hang);
    // Room only for the first Jobs.
    let dispatcher = traced(&system, &collector, &[("OTEL_BSP_MAX_QUEUE_SIZE", "25")]);
    for number in 0..3 {
        system.publish(&registration(&format!("Hasty {number}")));
    }
    system.until_onboarded(3);
    system.check_books(3);
    wait::until(LIMIT, "what has no room is counted", || {
        let metrics = http::get(dispatcher.port, "/metrics").ok()?.body;
        let line =
            metrics.lines().find(|line| line.starts_with("dispatcher_spans_lost_total{reason=\"full\"}"))?;
        (!line.ends_with(" 0")).then_some(())
    });
    let ended = dispatcher.running.terminate();
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.output.contains("the collector did not take all spans before the stop"),
        "{}",
        ended.output
    );
    assert_eq!(collector.spans(), []);
}

#[test]
fn a_step_that_fails_first_is_seen_with_each_of_its_attempts() {
    let system = System::start();
    let collector = Collector::start();
    let _dispatcher = traced(&system, &collector, &[]);
    system.vendor.set(vendor::Mode::Status(503));
    system.publish(&registration("Unlucky Ltd"));
    let failed = wait::until(LIMIT, "a failed run is seen", || {
        let runs = collector.spans().into_iter().find(|span| span.name == "run" && span.failed);
        runs.filter(|run| run.attributes["knapscen.worker.step"] == "notify-marketing")
    });
    let attempts: Vec<_> = failed.events.iter().filter(|(name, _)| name == "attempt").collect();
    let numbers: Vec<_> = attempts.iter().map(|(_, attempt)| attempt["knapscen.try"].as_str()).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6"], "backoffLimit is 5");
    for (_, attempt) in attempts {
        assert_eq!(attempt["process.exit.code"], "75");
        assert!(attempt["error.message"].contains("503"), "{attempt:?}");
    }
    system.vendor.set(vendor::Mode::Ok);
    system.until_onboarded(1);
    let spans = wait::until(LIMIT, "every run has come", || {
        let spans = collector.spans();
        (spans.iter().filter(|span| span.name == "run" && !span.failed).count() >= 9).then_some(spans)
    });
    let traces: BTreeSet<_> = spans.iter().map(|span| span.trace.as_str()).collect();
    assert_eq!(traces.len(), 1);
    let ids: BTreeSet<_> = spans.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "an id occurs twice");
}
