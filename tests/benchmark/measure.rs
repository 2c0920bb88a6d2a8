//! Measures times alternately, and evaluates them.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Measured values of one thing.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    /// The value that this percentage does not exceed.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let count = f64::from(u32::try_from(sorted.len()).expect("few samples"));
        let rank = (percent / 100.0 * count).ceil().max(1.0);
        sorted
            .into_iter()
            .zip(1_u32..)
            .find(|(_, at)| f64::from(*at) >= rank)
            .map_or(f64::NAN, |(value, _)| value)
    }
}

/// Runs each of these in turn, round after round. The first rounds only warm up. Returns one [`Samples`] for each.
pub(crate) fn in_turn<const N: usize>(
    rounds: usize,
    warm_up: usize,
    mut contenders: [&mut dyn FnMut(usize) -> f64; N],
) -> [Samples; N] {
    let mut samples: [Samples; N] = std::array::from_fn(|_| Samples::default());
    for round in 0..warm_up + rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            let value = contender(round);
            if round >= warm_up {
                samples.add(value);
            }
        }
    }
    samples
}

/// Runs a program, which must succeed, and returns its wall time in milliseconds.
pub(crate) fn run(command: &mut Command) -> f64 {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let started = Instant::now();
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let took = milliseconds(started.elapsed());
    assert!(status.success(), "{status}: {command:?}");
    took
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
