//! Maps NATS CloudEvents to Kubernetes Jobs: event → rule → plan → backend → outcome → acknowledgement.

#[cfg(not(panic = "unwind"))]
compile_error!(
    "a bug in one event ends with that event because it unwinds: build the dispatcher with panic = \"unwind\""
);

/// In the library, so that benchmarks also use it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod command;
pub mod dead_letter_action;
pub mod engine;
mod explanation;
pub mod logging;
pub mod manifest_source;
pub mod observer;
pub mod onboarding;
mod paint;
pub mod republish;
pub mod server;
mod size;
pub mod step_counts;

use rules::{flow, manifest, plan};
use telemetry::{metrics, traces};
