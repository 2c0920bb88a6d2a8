//! Jobs that do nothing: how many run per second, with a backlog.

use std::time::{Duration, Instant};

use crate::Size;
use crate::bare::{self, Bare};
use crate::measure::in_turn;
use crate::report::{Figure, Goal};
use crate::stage::{AT_ONCE, Stage};
use crate::storage::Storage;

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let backlogs: &[usize] = size.pick(&[100], &[100, 1_000, 10_000]);
    let mut runs: Vec<_> = backlogs.iter().map(|backlog| (*backlog, Storage::usual())).collect();
    let others = Storage::with_history().into_iter().chain(Storage::in_memory());
    runs.extend(others.map(|storage| (size.pick(100, 1_000), storage)));
    // Each is compared with the bare side measured again, because the cost of many files on a disk changes from
    // minute to minute. No state is removed before all were measured, because for a while ext4 looks at every freed
    // inode before it uses one.
    runs.iter().map(|(backlog, storage)| one(*backlog, storage, size)).collect()
}

fn one(backlog: usize, storage: &Storage, size: Size) -> Figure {
    let stage = Stage::start();
    let dispatcher = stage.dispatcher_with_storage(storage);
    let bare = Bare::start(&stage.nats);
    let rate = |took: Duration| f64::from(u32::try_from(backlog).expect("a number")) / took.as_secs_f64();
    let rounds = if backlog > 1_000 { 2 } else { size.pick(3, 7) };
    let [ours, bares] = in_turn(
        rounds,
        1,
        [
            &mut |_| {
                let started = Instant::now();
                stage.publish_many("user-saved", backlog);
                stage.until_all_answered("user-saved");
                rate(started.elapsed())
            },
            &mut |_| {
                let until = bare.ended() + u64::try_from(backlog).expect("a number");
                let started = Instant::now();
                stage.publish_many(bare::SUBJECT, backlog);
                while bare.ended() < until {
                    // Polled as often as the other side.
                    stage.unanswered(bare::SUBJECT, bare::SUBJECT);
                    std::thread::sleep(Duration::from_millis(5));
                }
                rate(started.elapsed())
            },
        ],
    );
    drop(dispatcher);
    let what = format!("null Jobs, {AT_ONCE} at once, backlog {backlog}{}", storage.what);
    Figure::new(what, "1/s", ours.median())
        .beside("bare pull and spawn", bares.median())
        .goal(Goal::RatioAtLeast(0.8))
}
