//! The stack of `docker/` on a real container engine: its images, and the whole flow in containers under every kind of fault.
//!
//! Builds the images first (unchanged ones are not built again). Each test has a project of its own, and leaves
//! nothing behind. A feature excludes it from a plain `cargo test`, because there may be no engine; `tests/run` runs
//! it if an engine answers.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod cluster;
mod compose;
mod fault;
mod flow;
mod image;
mod pull;
mod registry;
