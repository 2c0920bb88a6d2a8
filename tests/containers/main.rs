//! The stack of `docker/` on a real container engine: its images, and the whole flow in containers under every kind of fault.
//!
//! Builds the images first (what has not changed is not built again), each test has a project of its own, and nothing of it is left
//! behind. A feature of its own keeps it out of a plain `cargo test`, because an engine need not be there: `tests/run` calls it
//! wherever one answers.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod cluster;
mod compose;
mod fault;
mod flow;
mod image;
mod pull;
mod registry;
