//! `tests/faults`: proves on real servers that nothing is lost or doubled while everything breaks.
#![expect(clippy::expect_used, reason = "a harness fails by panicking: that fails the run")]

mod bin_dir;
mod clock;
mod cluster;
mod disk;
mod dispatchers;
mod duplicate_delivery;
mod fault;
mod history;
mod hostile;
mod inject;
mod invariants;
mod manifests;
mod options;
mod point;
mod publisher;
mod registration;
mod report;
mod schedule;
mod servers;
mod settle;
mod suite;
mod workers;

use std::process::ExitCode;

use clap::Parser;

use crate::options::{BackendName, BusName, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("again with: --seed {seed}");
    if options.backend == BackendName::Kubernetes && options.bus == BusName::Embedded {
        eprintln!("Jobs on a cluster need a broker to publish to: --bus jetstream");
        return ExitCode::from(78);
    }
    let report = match suite::run(&options, seed) {
        Ok(report) => report,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(78);
        }
    };
    println!("{report}");
    if let Some(path) = &options.report {
        let text = serde_json::to_string_pretty(&report).expect("a report");
        if let Err(error) = std::fs::write(path, text) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::from(78);
        }
    }
    if report.balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
