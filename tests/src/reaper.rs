//! Ends what the test process leaves behind, even when it was killed.
//!
//! One `bash` per test process reads process groups, directories, compose projects and scopes of containers from a pipe. When the pipe closes,
//! because the test process ended in whatever way, it kills the groups and removes the rest, where it was not taken back.

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

/// Has the containers, volumes and networks of a compose project removed at the end.
pub fn watch_project(name: &str) {
    tell(&format!("+project {name}\n"));
}

/// Takes it back: the project is gone.
pub fn forget_project(name: &str) {
    tell(&format!("-project {name}\n"));
}

/// Has the containers of dispatchers with this scope removed at the end.
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
