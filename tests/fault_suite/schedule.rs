//! What happens in which order; the same seed and options give the same.

use clap::ValueEnum;
use fastrand::Rng;

use crate::fault::{Fault, Kind};
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

/// Each kind in turn, in an order of chance.
fn faults(options: &Options, chance: &mut Rng) -> Vec<Fault> {
    let mut kinds: Vec<Kind> = options.kinds();
    kinds.sort_by_key(|kind| Kind::value_variants().iter().position(|other| other == kind));
    let mut found = Vec::new();
    while !kinds.is_empty() && found.len() < options.fault_count() {
        chance.shuffle(&mut kinds);
        found.extend(kinds.iter().map(|kind| Fault::any(*kind, chance, options)));
    }
    found.truncate(options.fault_count());
    found
}
