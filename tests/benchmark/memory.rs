//! What the dispatcher holds in memory while events wait.

use std::time::Duration;

use crate::Size;
use crate::report::{Figure, Goal};
use crate::stage::{AT_ONCE, Dispatcher, Stage, stamped};
use tests::program::Running;

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let stage = Stage::start();
    let dispatcher = stage.dispatcher("state");
    // It runs as many Jobs as it may, and these never end, so from now on all events wait.
    stage.publish_many("customer-saved", AT_ONCE);
    settle();
    let empty = resident(&dispatcher);
    let mut figures = vec![Figure::new("resident, none waiting", "MB", empty).goal(Goal::AtMost(25.0))];
    let mut published = 0;
    for waiting in size.pick([100, 1_000], [10_000, 100_000]) {
        stage.publish_many("customer-saved", waiting - published);
        published = waiting;
        settle();
        let held = resident(&dispatcher);
        let what = format!("resident, {waiting} waiting");
        figures.push(Figure::new(&what, "MB", held).goal(Goal::AtMost(25.0)));
        figures
            .push(Figure::new(&what, "MB", held).beside("none waiting", empty).goal(Goal::RatioAtMost(1.2)));
    }
    figures.push(flood(size.pick(100, 1_000)));
    figures
}

/// The peak while this many events of nearly a megabyte, half of them valid, are worked off together with 20 others.
fn flood(large: usize) -> Figure {
    let stage = Stage::start();
    stage.nats.create_stream();
    let stamp = stage.scratch.join("stamp");
    stage.publish("user-saved", &stamp);
    for number in 0..large {
        stage.publish_large("user-saved", LARGE, number % 2 == 0);
        if number % (large / 20) == 0 {
            stage.publish_many("user-saved", 1);
        }
    }
    let dispatcher = stage.dispatcher("state");
    stamped(&stamp);
    stage.until_all_answered("user-saved");
    let what = format!("most, {large} events of {} kB beside 20 others", LARGE / 1000);
    // The limits of the shipped Deployment.
    Figure::new(&what, "MB", memory_of(dispatcher.running.process.id(), "VmHWM:")).goal(Goal::AtMost(128.0))
}

/// The size of a large event: near the largest message that NATS accepts.
const LARGE: usize = 980_000;

/// Long enough for the dispatcher to take everything that it would take.
fn settle() {
    std::thread::sleep(Duration::from_secs(3));
}

/// The present memory of the process in megabytes.
pub(crate) fn resident(dispatcher: &Dispatcher) -> f64 {
    resident_of(&dispatcher.running)
}

/// The same for any program.
pub(crate) fn resident_of(running: &Running) -> f64 {
    memory_of(running.process.id(), "VmRSS:")
}

/// A value that the kernel reports for a process, in megabytes.
pub(crate) fn memory_of(process: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let line = status.lines().find(|line| line.starts_with(name)).expect("its memory");
    let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kilobytes / 1e3
}
