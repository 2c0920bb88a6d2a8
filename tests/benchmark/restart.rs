//! Events that a killed dispatcher had fetched: the time from the start of the next one until all are done, compared
//! with a backlog of the same length of which nothing was fetched. Also a burst, with the default settings of a
//! dispatcher on a cluster.

use std::time::{Duration, Instant};

use tests::kubernetes::ApiServer;
use tests::nats::STREAM;
use tests::program::Program;

use crate::docker;
use crate::report::{Figure, Goal};
use crate::stage::{Dispatcher, Stage};
use crate::{Size, measure};

const SUBJECT: &str = "user-saved";
const CONSUMER: &str = "dispatcher-user-saved";
const BURST: usize = 300;

/// How much longer it may take after a kill: the lease, and one look for it.
const LEASE: f64 = 5_000.0;

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let stage = Stage::start();
    let mut figures = vec![after_a_kill("processes", &stage, 300, || stage.dispatcher("state"))];

    let (stage, server) = (Stage::start(), ApiServer::start());
    server.complete_at_once(true);
    let kubeconfig = server.kubeconfig(&stage.scratch);
    let start = || {
        let program = Program::dispatcher().argument("run").argument("--backend").argument("kubernetes");
        stage.start_dispatcher(program.argument("--kubeconfig").argument(&kubeconfig))
    };
    figures.push(after_a_kill("stand-in of an API server", &stage, 300, start));
    figures.push(burst(&stage, &server, start));

    match docker::NullImage::of("benchmark/benchmark-null:latest") {
        Err(missing) => println!("  NOT MEASURED: {missing}"),
        Ok(_image) => {
            let stage = Stage::start();
            let start = || {
                let program = Program::dispatcher().argument("run").argument("--backend").argument("docker");
                let secret = stage.scratch.join("knapscen-config.env");
                let scope = format!("benchmark-{}", std::process::id());
                let secret = format!("knapscen-config={}", secret.display());
                let program =
                    program.argument("--secret").argument(secret).set("DISPATCHER_DOCKER_SCOPE", &scope);
                stage.start_dispatcher(program)
            };
            figures.push(after_a_kill("containers", &stage, size.pick(20, 60), start));
        }
    }
    figures
}

fn after_a_kill(what: &str, stage: &Stage, count: usize, start: impl Fn() -> Dispatcher) -> Figure {
    let left = count * 3 / 4;
    // Creates the consumers, and then fetches nothing.
    let before = start();
    stage.publish_many(SUBJECT, 1);
    stage.until_all_answered(SUBJECT);
    before.running.terminate().expect_code(0);
    stage.publish_many(SUBJECT, left);
    let began = Instant::now();
    let first = start();
    stage.until_all_answered(SUBJECT);
    let untouched = measure::milliseconds(began.elapsed());

    stage.publish_many(SUBJECT, count);
    let most = u64::try_from(left).expect("a few");
    while stage.unanswered(STREAM, CONSUMER) > most {
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut killed = first.running;
    killed.kill();
    let began = Instant::now();
    let next = start();
    stage.until_all_answered(SUBJECT);
    let took = measure::milliseconds(began.elapsed());
    next.running.terminate().expect_code(0);
    let what = format!("{what}: {left} of {count} events after a kill");
    Figure::new(what, "ms", took).beside("not fetched before", untouched).goal(Goal::BeyondAtMost(LEASE))
}

fn burst(stage: &Stage, server: &ApiServer, start: impl Fn() -> Dispatcher) -> Figure {
    let dispatcher = start();
    let (there, began) = (server.count("jobs"), Instant::now());
    stage.publish_many(SUBJECT, BURST);
    while server.count("jobs") < there + BURST {
        std::thread::sleep(Duration::from_millis(2));
    }
    let took = measure::milliseconds(began.elapsed());
    stage.until_all_answered(SUBJECT);
    dispatcher.running.terminate().expect_code(0);
    Figure::new("burst of 300 with default settings, until the last Job is made", "ms", took)
}
