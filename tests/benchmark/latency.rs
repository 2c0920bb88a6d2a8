//! From the publication of an event to the start of its Job's process, with nothing else to do.

use std::time::Duration;

use crate::Size;
use crate::bare::{self, Bare};
use crate::measure::Samples;
use crate::report::{Figure, Goal};
use crate::stage::{Stage, stamped};
use crate::storage::Storage;

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let all = [Storage::usual()].into_iter().chain(Storage::with_history());
    all.flat_map(|storage| one(&storage, size)).collect()
}

fn one(storage: &Storage, size: Size) -> Vec<Figure> {
    let stage = Stage::start();
    let dispatcher = stage.dispatcher_with_storage(storage);
    let bare = Bare::start(&stage.nats);
    let (mut ours, mut bares, mut starts) = (Samples::default(), Samples::default(), Samples::default());
    for round in 0..size.pick(30, 300) + 3 {
        let stamp = stage.scratch.join(&format!("ours-{round}"));
        let before = stage.publish("user-saved", &stamp);
        let latency = milliseconds(before, stamped(&stamp));
        pause();
        let stamp = stage.scratch.join(&format!("bare-{round}"));
        let before = stage.publish(bare::SUBJECT, &stamp);
        let started = stamped(&stamp);
        pause();
        if round >= 3 {
            ours.add(latency);
            bares.add(milliseconds(before, started));
            starts.add(milliseconds(bare.spawned(), started));
        }
    }
    drop(dispatcher);
    let figure = |percent: u8, name: &str, beside: &Samples| {
        let what = format!("publish to Job start, p{percent}{}", storage.what);
        let percent = f64::from(percent);
        Figure::new(what, "ms", ours.percentile(percent)).beside(name, beside.percentile(percent))
    };
    vec![
        figure(50, "bare pull and spawn", &bares),
        figure(99, "bare pull and spawn", &bares),
        figure(50, "the process start alone", &starts).goal(Goal::BeyondAtMost(5.0)),
        figure(99, "the process start alone", &starts).goal(Goal::BeyondAtMost(20.0)),
    ]
}

/// Long enough for the Job before to be answered.
fn pause() {
    std::thread::sleep(Duration::from_millis(15));
}

/// Between two times in nanoseconds.
pub(crate) fn milliseconds(from: u128, to: u128) -> f64 {
    let nanoseconds = u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
    f64::from(nanoseconds) / 1e6
}
