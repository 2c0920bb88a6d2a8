//! What happens in which order. The same seed and options give the same schedule.

use fastrand::Rng;

use crate::fault::Fault;
use crate::hostile::{self, Hostile};
use crate::options::Options;
use crate::registration::Registration;

/// First the load, then the fault.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) registrations: Vec<Registration>,
    pub(crate) hostile: Vec<Hostile>,
    pub(crate) fault: Option<Fault>,
}

/// The rounds: the load spread evenly over the faults, and one round without a fault at the end.
pub(crate) fn schedule(options: &Options, seed: u64) -> Vec<Round> {
    let mut chance = Rng::with_seed(seed);
    let faults = faults(options, &mut chance);
    let rounds = faults.len() + 1;
    let share = |total: usize, round: usize| (total * round / rounds)..(total * (round + 1) / rounds);
    let registrations = options.registrations as usize;
    let hostile = options.hostile_count() as usize;
    faults
        .into_iter()
        .map(Some)
        .chain([None])
        .enumerate()
        .map(|(round, fault)| Round {
            registrations: share(registrations, round)
                .map(|n| Registration::any(seed, n, &mut chance))
                .collect(),
            hostile: share(hostile, round).map(|_| hostile::any(&mut chance)).collect(),
            fault,
        })
        .collect()
}

/// Each kind once, then all other variants of each, in random order; then all again.
fn faults(options: &Options, chance: &mut Rng) -> Vec<Fault> {
    let wanted = options.fault_count();
    let mut found = Vec::new();
    while found.len() < wanted {
        let (mut first, mut others) = (Vec::new(), Vec::new());
        for kind in options.kinds() {
            let mut all = Fault::all(kind, chance, options);
            chance.shuffle(&mut all);
            first.extend(all.pop());
            others.extend(all);
        }
        if first.is_empty() {
            break;
        }
        chance.shuffle(&mut first);
        chance.shuffle(&mut others);
        found.extend(first.into_iter().chain(others));
    }
    found.truncate(wanted);
    found
}
