//! How the figures grow with what is there: rows, events that wait, users in one event.

use crate::Size;
use crate::latency::milliseconds;
use crate::measure::{Samples, in_turn};
use crate::report::{Figure, Goal};
use crate::stage::{Stage, stamped};
use crate::worker;

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let mut figures = rows(size);
    figures.extend(waiting(size));
    figures
}

/// A worker, with more and more customers in the database.
fn rows(size: Size) -> Vec<Figure> {
    let stage = worker::Stage::start();
    let mut present = 0;
    let mut figures = Vec::new();
    for customers in size.pick([1, 1_000], [1, 100_000]) {
        stage.fill(customers - present);
        present = customers;
        let [floor, ours] = in_turn(
            size.pick(20, 100),
            3,
            [&mut |_| stage.save("benchmark-floor"), &mut |_| stage.save("save-user")],
        );
        let figure =
            Figure::new(format!("save-user, {customers} customers saved before"), "ms", ours.median());
        figures.push(figure.beside("floor program", floor.median()));
    }
    compare(&mut figures);
    figures
}

/// The latency of one step, while more and more events of another wait.
fn waiting(size: Size) -> Vec<Figure> {
    let stage = Stage::start();
    let _dispatcher = stage.dispatcher("state");
    let mut present = 0;
    let mut figures = Vec::new();
    for backlog in size.pick([1, 1_000], [1, 100_000]) {
        stage.publish_many("customer-saved", backlog - present);
        present = backlog;
        let mut latencies = Samples::default();
        for round in 0..size.pick(20, 200) {
            let stamp = stage.scratch.join(&format!("{backlog}-{round}"));
            let before = stage.publish("user-saved", &stamp);
            latencies.add(milliseconds(before, stamped(&stamp)));
        }
        let what = format!("publish to Job start, {backlog} events of another step waiting, p50");
        figures.push(Figure::new(what, "ms", latencies.median()));
    }
    compare(&mut figures);
    figures
}

/// The last figure of a row beside its first.
fn compare(figures: &mut Vec<Figure>) {
    let (Some(first), Some(last)) = (figures.first().cloned(), figures.last().cloned()) else { return };
    let grown = Figure::new(last.what, last.unit, last.ours).beside("the first of the row", first.ours);
    figures.push(grown.goal(Goal::RatioAtMost(1.5)));
}
