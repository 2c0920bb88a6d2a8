//! A child process in a group of its own, with its output in a file.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{reaper, wait};

const TAIL_LINES: usize = 40;

/// A running process; its group is killed on drop, and on a panic the end of its output is printed first.
#[derive(Debug)]
pub struct Process {
    name: String,
    command: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts the command with standard output and standard error appended to `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("a log file");
        let errors = output.try_clone().expect("a second handle");
        command.process_group(0).stdin(Stdio::null()).stdout(output).stderr(errors);
        let line = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}\n{line}"));
        reaper::watch_group(child.id());
        Self { name: name.to_owned(), command: line, child, log: log.to_owned(), ended: None }
    }

    /// The process id, which is also the id of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child of ours");
        }
        self.ended
    }

    /// Panics with its output if the process has ended.
    pub fn check_alive(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended early with {status}\n{}", self.name, self.evidence());
        }
    }

    /// Polls until the probe answers. Panics if the process ends meanwhile or the limit is over.
    pub fn until<T>(&mut self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let found = wait::within(wait::LIMIT, || {
            let found = probe();
            self.check_alive();
            found
        });
        found.unwrap_or_else(|| panic!("waited in vain until {} {what}\n{}", self.name, self.evidence()))
    }

    /// Waits for its end. Kills it and panics if the limit is over.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let ended = wait::within(limit, || self.ended());
        ended.unwrap_or_else(|| {
            let evidence = self.evidence();
            self.kill();
            panic!("{} did not end within {limit:?}\n{evidence}", self.name)
        })
    }

    /// Sends a signal only to the process, not to its group.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // It may end between the check and the signal, which is fine.
            let _ = kill_process(self.pid(), signal);
        }
    }

    /// Asks it to end.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Stops its whole group like a frozen machine: connections stay open, nothing answers.
    pub fn pause(&self) {
        kill_process_group(self.pid(), Signal::STOP).expect("a process to pause");
        wait::until_true("every thread has stopped", || self.threads_stopped());
    }

    /// Lets a paused group run again.
    pub fn resume(&self) {
        kill_process_group(self.pid(), Signal::CONT).expect("a process to resume");
    }

    /// Kills its group and waits for its end.
    pub fn kill(&mut self) {
        // The group may already be gone.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        if self.ended.is_none() {
            self.ended = Some(self.child.wait().expect("a child of ours"));
        }
        reaper::forget_group(self.child.id());
    }

    /// Its output so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Command line, state and the end of the output, for a failed test.
    pub fn evidence(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n  ");
        let state = self.ended.map_or_else(|| "running".to_owned(), describe);
        format!("--- {} ({state})\n  {}\n  {tail}\n---", self.name, self.command)
    }

    fn threads_stopped(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).expect("its threads").flatten();
        threads.map(|thread| fs::read_to_string(thread.path().join("stat")).unwrap_or_default()).all(|line| {
            // The state follows the program's name, which is in brackets.
            line.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.evidence());
        }
        self.kill();
    }
}
