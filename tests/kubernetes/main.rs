//! The dispatcher against an API server: each scenario with the calls that it makes, in order.
//!
//! The API server is a stand-in; `tests/cluster` runs the same scenarios against a real one.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod account;
mod adoption;
#[expect(dead_code, reason = "a real cluster is for another test")]
mod bench;
#[path = "../fault_suite/clock.rs"]
mod clock;
mod faults;
mod flow;
mod from_cluster;
mod in_pod;
mod role;
mod scenario;
mod start;
mod stuck;
#[path = "../end_to_end/system.rs"]
#[expect(dead_code, reason = "made for other tests")]
mod system;
mod verdicts;
