//! Maps NATS CloudEvents to Kubernetes Jobs: event → rule → plan → backend → outcome → acknowledgement.

#[cfg(not(panic = "unwind"))]
compile_error!(
    "a bug in one event ends with that event because it unwinds: build the dispatcher with panic = \"unwind\""
);

/// In the library, so that benchmarks measure with it as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod backend;
pub mod bus;
pub mod command;
mod digest;
pub mod engine;
pub mod flow;
pub mod history;
pub mod logging;
pub mod manifest;
pub mod metrics;
pub mod observer;
pub mod operator;
pub mod origin;
pub mod plan;
pub mod server;
pub mod standing;
pub mod template;
pub mod traces;
