//! The whole system on real servers.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod crash;
mod demo;
mod dispatcher;
mod dispatcher_secrets;
mod docker;
mod effects;
mod faults;
mod flow;
mod harness;
mod history;
mod large;
mod lost;
mod migration;
mod page;
mod secrets;
mod servers;
mod statement;
mod system;
mod traces;
mod worker;
mod worker_input;
mod worker_stop;
