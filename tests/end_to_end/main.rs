//! The whole system on real servers.

mod crash;
mod dispatcher;
mod faults;
mod flow;
mod harness;
mod system;
mod worker;
mod worker_input;
