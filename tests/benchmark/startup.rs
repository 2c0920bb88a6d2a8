//! From the start of the dispatcher to its readiness.

use std::process::Command;

use tests::program::binaries;

use crate::Size;
use crate::measure::{in_turn, run};
use crate::report::Figure;
use crate::stage::Stage;

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let stage = Stage::start();
    let mut figures = Vec::new();
    for waiting in size.pick([0, 1_000], [0, 100_000]) {
        if waiting > 0 {
            // Their Jobs would keep running, so only this many are started.
            stage.publish_many("customer-saved", waiting);
        }
        let [null, help, ready] = in_turn(
            size.pick(5, 20),
            1,
            [
                &mut |_| run(&mut Command::new(binaries().join("benchmark-null"))),
                &mut |_| run(Command::new(binaries().join("dispatcher")).arg("--version")),
                &mut |round| stage.dispatcher(&format!("state-{waiting}-{round}")).ready_after,
            ],
        );
        if waiting == 0 {
            figures.push(
                Figure::new("dispatcher --version", "ms", help.median())
                    .beside("null process", null.median()),
            );
        }
        let what = format!("dispatcher run until ready, {waiting} events waiting");
        figures.push(Figure::new(what, "ms", ready.median()).beside("null process", null.median()));
    }
    figures
}
