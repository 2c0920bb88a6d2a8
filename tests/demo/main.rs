//! What a newcomer tries first: the README's command, exactly as written.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::scratch::Scratch;

/// Variables that cargo, or the program that runs the tests, sets for a test. A shell has none of them, and crates
/// that depend on them would be compiled again.
const OF_CARGO: [&str; 10] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "CLIPPY_ARGS",
    "NEXTEST",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
];

/// Runs the demo as from a shell. Returns how many crates were compiled, how many were up to date, and the output.
fn run_demo(folder: &Path) -> (usize, usize, String) {
    let mut command = Command::new("cargo");
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["run", "--locked", "--quiet", "--message-format", "json", "--", "demo", "--folder"])
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    for (name, _) in std::env::vars_os() {
        if OF_CARGO.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let ended = command.output().expect("cargo");
    let output = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{}: {output}", ended.status);
    let messages = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let crates: Vec<bool> = messages
        .filter(|message| message["reason"] == "compiler-artifact")
        .map(|message| message["fresh"].as_bool().unwrap())
        .collect();
    let fresh = crates.iter().filter(|fresh| **fresh).count();
    (crates.len() - fresh, fresh, output)
}

#[test]
fn the_second_run_of_the_demo_compiles_nothing() {
    let scratch = Scratch::new("demo");
    let (compiled, there, _) = run_demo(&scratch.join("first"));
    let all = compiled + there;
    let (compiled, there, output) = run_demo(&scratch.join("second"));
    assert_eq!((compiled, there), (0, all));
    assert!(output.contains("5 of 5 customers onboarded"), "{output}");
}
