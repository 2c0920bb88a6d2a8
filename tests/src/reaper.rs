//! Ends what the test process leaves behind, even if it was killed.
//!
//! One `bash` for each test process reads process groups, directories, compose projects and scopes of containers from
//! a pipe. When the test process ends in any way, the pipe closes; then `bash` kills the groups and removes
//! everything else that was not taken back.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const SCRIPT: &str = include_str!("../servers/reaper.sh");

pub(crate) fn watch_group(group: u32) {
    tell(&format!("+group {group}\n"));
}

pub(crate) fn forget_group(group: u32) {
    tell(&format!("-group {group}\n"));
}

pub(crate) fn watch_directory(directory: &Path) {
    tell(&format!("+directory {}\n", directory.display()));
}

pub(crate) fn forget_directory(directory: &Path) {
    tell(&format!("-directory {}\n", directory.display()));
}

/// Removes the containers, volumes and networks of a compose project at the end.
pub fn watch_project(name: &str) {
    tell(&format!("+project {name}\n"));
}

/// Takes it back, because the project is already removed.
pub fn forget_project(name: &str) {
    tell(&format!("-project {name}\n"));
}

/// Removes the containers of dispatchers with this scope at the end.
pub fn watch_scope(scope: &str) {
    tell(&format!("+scope {scope}\n"));
}

fn tell(line: &str) {
    static REAPER: OnceLock<Mutex<Child>> = OnceLock::new();
    let mut reaper = REAPER.get_or_init(|| Mutex::new(start())).lock().expect("the reaper");
    reaper.stdin.as_mut().expect("a pipe").write_all(line.as_bytes()).expect("the reaper reads");
}

fn start() -> Child {
    Command::new("bash")
        .args(["-c", SCRIPT, "reaper"])
        .process_group(0) // Ctrl-C on the terminal ends the tests, and must not end the reaper before its work
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("bash starts")
}
