//! The whole system on real servers.

mod harness;
