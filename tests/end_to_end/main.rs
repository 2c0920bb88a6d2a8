//! The whole system on real servers.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod crash;
mod dispatcher;
mod docker;
mod faults;
mod flow;
mod harness;
mod history;
mod page;
mod statement;
mod system;
mod traces;
mod worker;
mod worker_input;
mod worker_stop;
