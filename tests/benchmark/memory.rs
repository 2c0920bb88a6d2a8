//! What the dispatcher holds in memory while events wait.

use std::time::Duration;

use crate::Size;
use crate::report::{Figure, Goal};
use crate::stage::{AT_ONCE, Dispatcher, Stage};
use tests::program::Running;

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let stage = Stage::start();
    let dispatcher = stage.dispatcher("state");
    // It runs as many as it may, and they stay: from now on all wait.
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
    figures
}

/// Long enough for whatever would be taken to be taken.
fn settle() {
    std::thread::sleep(Duration::from_secs(3));
}

/// Megabytes of memory that are the process's now.
pub(crate) fn resident(dispatcher: &Dispatcher) -> f64 {
    resident_of(&dispatcher.running)
}

/// The same of any program.
pub(crate) fn resident_of(running: &Running) -> f64 {
    memory_of(running.process.id(), "VmRSS:")
}

/// What the kernel says of a process under this name, in megabytes.
pub(crate) fn memory_of(process: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let line = status.lines().find(|line| line.starts_with(name)).expect("its memory");
    let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kilobytes / 1e3
}
