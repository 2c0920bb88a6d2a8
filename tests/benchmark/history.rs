//! What the history costs the flow: the same registrations with the history in the flow's database, and without one.

use crate::Size;
use crate::flow::System;
use crate::measure::in_turn;
use crate::report::{Figure, Goal};

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let customers = size.pick(2, 20);
    let (with, without) = (System::start(true), System::start(false));
    let [with, without] = in_turn(
        size.pick(2, 15),
        1,
        [&mut |round| with.onboard(customers, (round + 1) * customers), &mut |round| {
            without.onboard(customers, (round + 1) * customers)
        }],
    );
    let figure = Figure::new(format!("{customers} customers, history in the database"), "ms", with.median());
    vec![figure.beside("in memory", without.median()).goal(Goal::RatioAtMost(1.05))]
}
