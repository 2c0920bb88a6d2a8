//! The options of the command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::fault::Kind;

/// Registers customers while everything breaks, and makes the books at the end.
///
/// Starts real servers, runs dispatchers on them, publishes registrations and hostile events, delivers every event twice,
/// and carries out a schedule of faults that follows from the seed. Ends with 0 only when every registration is accounted
/// for exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "tests/faults",
    after_help = "Examples:\n  tests/faults --registrations 1000 --seed 7\n  tests/faults --only stop-dispatcher,kill-worker --faults 20\n  \
    tests/faults --bus embedded --report books.json"
)]
pub(crate) struct Options {
    /// Registrations to publish
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) registrations: u32,
    /// The schedule, the registrations and the hostile events follow from it [default: one by chance, shown]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Faults to carry out, first each kind once, then all others [default: one for every registration until each kind was there once,
    /// and one for every ten]
    #[arg(long)]
    pub(crate) faults: Option<u32>,
    /// Hostile events to publish [default: ten for every registration]
    #[arg(long)]
    pub(crate) hostile: Option<u32>,
    /// Where Jobs run
    #[arg(long, value_enum, default_value = "process")]
    pub(crate) backend: BackendName,
    /// Where events come from
    #[arg(long, value_enum, default_value = "jetstream")]
    pub(crate) bus: BusName,
    /// Dispatchers that share the work; the embedded bus has one
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) dispatchers: u32,
    /// A state folder for each dispatcher, as on several machines: then Jobs of a killed one are not known to the others
    #[arg(long)]
    pub(crate) apart: bool,
    /// Only these kinds of faults
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "without")]
    pub(crate) only: Vec<Kind>,
    /// None of these kinds of faults
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) without: Vec<Kind>,
    /// Seconds without any progress after which the books are made as they are
    #[arg(long, default_value_t = 120)]
    pub(crate) patience: u64,
    /// Write the books to this file, as JSON
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
    /// Keep the dispatchers' logs in this folder
    #[arg(long)]
    pub(crate) logs: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    /// Child processes on this machine
    Process,
    /// Containers of a Docker Engine, on the host's network
    Docker,
    /// Jobs of a cluster: its API server is a stand-in, its node runs processes on this machine
    Kubernetes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BusName {
    /// NATS `JetStream`
    Jetstream,
    /// A queue in an `SQLite` file
    Embedded,
}

impl Options {
    /// The kinds that are wanted and possible.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let chosen = |kind: &Kind| {
            if self.only.is_empty() { !self.without.contains(kind) } else { self.only.contains(kind) }
        };
        Kind::value_variants().iter().copied().filter(chosen).filter(|kind| kind.possible(self)).collect()
    }

    pub(crate) fn fault_count(&self) -> usize {
        let registrations = self.registrations as usize;
        let by_default = self.kinds().len().min(registrations).max(registrations / 10);
        self.faults.map_or(by_default, |count| count as usize)
    }

    pub(crate) fn hostile_count(&self) -> u32 {
        self.hostile.unwrap_or(self.registrations.saturating_mul(10))
    }

    pub(crate) fn dispatcher_count(&self) -> usize {
        if self.bus == BusName::Embedded { 1 } else { self.dispatchers as usize }
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}
