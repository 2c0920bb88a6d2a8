//! Runs one of our own binaries with only the given environment.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::Process;
use crate::scratch::Scratch;
use crate::{Setting, wait};

/// A binary with its arguments and environment, not started yet.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    behind: Vec<String>,
}

impl Program {
    /// A worker by the name of its folder.
    pub fn worker(step: &str) -> Self {
        Self::built(step)
    }

    /// The dispatcher.
    pub fn dispatcher() -> Self {
        Self::built("dispatcher")
    }

    /// The dispatcher with the workers in it.
    pub fn demo() -> Self {
        Self::built("demo")
    }

    fn built(name: &str) -> Self {
        let path = binaries().join(name);
        assert!(
            path.exists(),
            "{} is not built: cargo test builds no binaries of other packages, run `cargo build --workspace --bins` first",
            path.display()
        );
        Self {
            name: name.to_owned(),
            path,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            behind: Vec::new(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<Path>) -> Self {
        self.arguments.push(argument.as_ref().display().to_string());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn set(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// Sets many variables.
    #[must_use]
    pub fn settings(mut self, settings: impl IntoIterator<Item = Setting>) -> Self {
        self.environment.extend(settings);
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Runs it as the last arguments of this command, instead of directly.
    #[must_use]
    pub fn behind(mut self, command: &[&str]) -> Self {
        self.behind = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it in an empty directory of its own.
    pub fn start(&self) -> Running {
        let scratch = Scratch::new(&self.name);
        let mut command = match self.behind.split_first() {
            Some((first, more)) => {
                let mut command = Command::new(first);
                command.args(more).arg(&self.path);
                command
            }
            None => Command::new(&self.path),
        };
        command.args(&self.arguments).current_dir(scratch.path()).env_clear().envs(&self.environment);
        let report = scratch.join("termination-log");
        if !self.environment.contains_key("TERMINATION_LOG") {
            command.env("TERMINATION_LOG", &report);
        }
        let process = Process::spawn(&self.name, command, &scratch.join("output"));
        Running { process, report, started: Instant::now(), scratch }
    }

    /// Runs it to its end.
    pub fn run(&self) -> Ended {
        self.start().wait()
    }

    /// Runs it to its end, which must have this exit code.
    pub fn run_to(&self, code: i32) -> Ended {
        let ended = self.run();
        ended.expect_code(code);
        ended
    }
}

/// The folder of the binaries of this build: `target/<profile>`.
pub fn binaries() -> PathBuf {
    let own = std::env::current_exe().expect("the test's own path");
    let folder = own.parent().expect("the folder of the programs");
    // Tests are in a folder below that of programs.
    if folder.ends_with("deps") { folder.parent().expect("target/<profile>") } else { folder }.to_owned()
}

/// A program that runs; killed on drop.
#[derive(Debug)]
pub struct Running {
    /// The process, for signals and output.
    pub process: Process,
    report: PathBuf,
    started: Instant,
    scratch: Scratch,
}

impl Running {
    /// Its working directory.
    pub fn directory(&self) -> &Scratch {
        &self.scratch
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let status = self.process.wait(wait::LIMIT);
        let message = std::fs::read_to_string(&self.report).unwrap_or_default();
        Ended {
            code: status.code(),
            signal: status.signal(),
            took: self.started.elapsed(),
            report: serde_json::from_str(&message).unwrap_or(Value::Null),
            report_length: message.len(),
            output: self.process.output(),
            evidence: self.process.evidence(),
        }
    }

    /// Sends SIGTERM and waits for its end.
    pub fn terminate(mut self) -> Ended {
        self.process.terminate();
        self.wait()
    }

    /// Kills it with SIGKILL. Its directory stays, and so do processes that it has started in groups of their own.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Wall time.
    pub took: Duration,
    /// The termination message as JSON; null if there is none.
    pub report: Value,
    /// Length of the termination message in bytes.
    pub report_length: usize,
    /// Standard output and standard error.
    pub output: String,
    evidence: String,
}

impl Ended {
    /// Panics with its output unless it ended with this code.
    pub fn expect_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "exit code\n{}", self.evidence);
    }

    /// A field of the termination message as text; empty if absent.
    pub fn reported(&self, pointer: &str) -> &str {
        self.report.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// What `dead-letters list --output json` has printed.
    pub fn dead_letters(&self) -> Vec<Value> {
        let lines = self.output.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &Value| line["number"].is_u64()).collect()
    }

    /// The last line printed, as JSON.
    pub fn last_line(&self) -> Value {
        let line = self.output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        serde_json::from_str(line).unwrap_or(Value::Null)
    }
}
