//! A NATS client that is not ours: nats-py, which publishes like the `nats` command.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::nats::Nats;

pub(crate) const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/servers");

/// Publishes an event with no headers and no acknowledgement.
pub fn publish_without_headers(server: &Nats, subject: &str, event: &Value) {
    publish_to(&server.url(), subject, event);
}

/// The same to any server by its address.
pub fn publish_to(server: &str, subject: &str, event: &Value) {
    let mut child =
        python("publish.py").args([server, subject]).stdin(Stdio::piped()).spawn().expect("python3");
    child.stdin.take().expect("a pipe").write_all(event.to_string().as_bytes()).expect("the script reads");
    let status = child.wait().expect("a child of ours");
    assert!(status.success(), "publish.py ended with {status}");
}

/// A Python script of ours.
pub(crate) fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(format!("{SERVERS}/{script}"));
    command
}
