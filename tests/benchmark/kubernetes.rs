//! Jobs on a cluster: the cost of the dispatcher alone, on an API server stand-in on the same machine.

use std::time::{Duration, Instant};

use tests::kubernetes::ApiServer;
use tests::program::Program;
use tests::wait;

use crate::Size;
use crate::measure::{Samples, milliseconds};
use crate::memory::resident;
use crate::report::{Figure, Goal};
use crate::stage::{Dispatcher, Stage};

/// With this many places, one lane alone may run 1,000 Jobs.
const SLOTS: &str = "1600";
const IN_FLIGHT: usize = 1000;
const SUBJECT: &str = "user-saved";
/// The kernel's clock ticks in a second, as /proc counts them.
const TICKS: f64 = 100.0;

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let stage = Stage::start();
    let server = ApiServer::start();
    let dispatcher = stage.start_dispatcher(
        Program::dispatcher()
            .argument("run")
            .argument("--backend")
            .argument("kubernetes")
            .argument("--kubeconfig")
            .argument(server.kubeconfig(&stage.scratch))
            .argument("--kube-qps")
            .argument("100000")
            .argument("--max-running")
            .argument(SLOTS),
    );
    server.complete_at_once(true);
    let mut figures = latency(&stage, &server, size.pick(30, 300));
    figures.extend(rate(&stage, &server, &dispatcher, size.pick(200, 3000)));
    figures.extend(in_flight(&stage, &server, &dispatcher));
    figures
}

/// From the call that publishes to the Job's existence in the API server.
fn latency(stage: &Stage, server: &ApiServer, rounds: usize) -> Vec<Figure> {
    let mut samples = Samples::default();
    for round in 0..rounds + 3 {
        let before = server.count("jobs");
        let started = Instant::now();
        stage.publish(SUBJECT, &stage.scratch.join("unused"));
        while server.count("jobs") == before {
            assert!(started.elapsed() < wait::LIMIT, "there is no Job");
            std::thread::sleep(Duration::from_micros(100));
        }
        let took = milliseconds(started.elapsed());
        stage.until_all_answered(SUBJECT);
        if round >= 3 {
            samples.add(took);
        }
    }
    let figure = |what: &str, percent: f64| Figure::new(what, "ms", samples.percentile(percent));
    vec![figure("publish to Job created, p50", 50.0), figure("publish to Job created, p99", 99.0)]
}

/// Works off events that come as fast as the broker accepts them.
fn rate(stage: &Stage, server: &ApiServer, dispatcher: &Dispatcher, count: usize) -> Vec<Figure> {
    let (there, ticks, started) = (server.count("jobs"), ticks(dispatcher), Instant::now());
    stage.publish_many(SUBJECT, count);
    while server.count("jobs") < there + count {
        assert!(started.elapsed() < Duration::from_mins(10), "Jobs are missing");
        std::thread::sleep(Duration::from_millis(2));
    }
    let took = started.elapsed().as_secs_f64();
    stage.until_all_answered(SUBJECT);
    let many = f64::from(u32::try_from(count).expect("a few"));
    let cpu = (self::ticks(dispatcher) - ticks) / TICKS * 1e3 / many;
    vec![
        Figure::new("Jobs created", "/s", many / took),
        Figure::new("the dispatcher's CPU for an event", "ms", cpu),
    ]
}

/// The memory with many running Jobs.
fn in_flight(stage: &Stage, server: &ApiServer, dispatcher: &Dispatcher) -> Vec<Figure> {
    let idle = resident(dispatcher);
    server.complete_at_once(false);
    let there = server.count("jobs");
    stage.publish_many(SUBJECT, IN_FLIGHT);
    wait::until(Duration::from_mins(5), "all Jobs are in flight", || {
        (server.count("jobs") >= there + IN_FLIGHT).then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    let held = resident(dispatcher);
    vec![
        Figure::new("resident, 1,000 Jobs in flight", "MB", held)
            .beside("none in flight", idle)
            .goal(Goal::AtMost(50.0)),
    ]
}

/// The process's time on the processors so far, in ticks.
fn ticks(dispatcher: &Dispatcher) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", dispatcher.running.process.id()))
        .expect("its times");
    let fields = stat.rsplit_once(") ").expect("a name in brackets").1;
    fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
}
