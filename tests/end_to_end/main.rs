//! The whole system on real servers.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod dispatcher;
mod faults;
mod flow;
mod harness;
mod system;
mod worker;
mod worker_input;
mod worker_stop;
