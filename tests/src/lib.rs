//! The test harness: starts real servers on free ports, runs our own binaries with them, and leaves nothing behind.
//!
//! Every starter gives its server a directory of its own, waits until it answers, checks that it is still running,
//! prints the end of its log when a test fails, and ends it on drop. What drop cannot reach (after a killed test
//! process, or of a server in a static) is ended by the [reaper]. The API is blocking, so that a test reads from top
//! to bottom; network work runs on one runtime of the harness.
#![expect(clippy::expect_used, reason = "a harness fails by panicking: that fails the test")]
#![expect(clippy::missing_panics_doc, reason = "every starter panics when its server does not start")]

pub mod authority;
pub mod browser;
pub mod client;
pub mod collector;
pub mod container;
pub mod database;
pub mod engine;
pub mod http;
pub mod kubernetes;
pub mod mariadb;
pub mod nats;
pub mod port;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod proxy;
pub mod reaper;
pub mod scratch;
pub mod secret;
pub mod server;
pub mod smtp;
pub mod stack;
pub mod vendor;
pub mod wait;
pub mod wire;

use std::sync::OnceLock;

/// Runs a future of the harness on its runtime until it is complete.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// The runtime that drives the vendor, the proxies and all clients of the harness.
pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// A setting handed to a process: name and value.
pub type Setting = (String, String);

/// Builds settings from literal names and anything that prints.
pub fn settings<const N: usize>(pairs: [(&str, &str); N]) -> Vec<Setting> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
