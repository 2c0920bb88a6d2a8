//! From images alone to the first customer onboarded: no volumes, no passwords, no database.

use std::time::Instant;

use tests::stack::{Kind, Stack};

use super::client::Client;
use crate::Size;
use crate::measure::Samples;
use crate::report::Figure;

pub(super) fn measure(size: Size) -> Vec<Figure> {
    let (mut ready, mut onboarded) = (Samples::default(), Samples::default());
    for _ in 0..size.pick(1, 3) {
        let started = Instant::now();
        let stack = Stack::up_without_build(Kind::Single);
        let up = started.elapsed();
        // Not measured: people who try the stack look at its page.
        let mut client = Client::of(&stack);
        let started = Instant::now();
        stack.publish(&[]);
        client.until_onboarded(1);
        ready.add(up.as_secs_f64());
        onboarded.add((up + started.elapsed()).as_secs_f64());
        stack.end();
    }
    let figure = Figure::new("cold up to first customer onboarded, median", "s", onboarded.median());
    vec![figure.beside("cold up to ready", ready.median())]
}
