//! One child process: starts it in its own group with its own environment, waits for it, and ends it with a grace time.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::super::policy::Exit;
use super::super::start_error::StartError;
use super::super::{FailureClass, environment};
use super::Settings;
use super::files::Files;
use super::identity::ProcessId;
use super::image::Absent;
use super::record::Record;
use rules::plan::{PlannedJob, expand};

/// How often an adopted process is checked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How waiting for a process ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    Exited(Exit),
    /// We ended it, at the Job's deadline.
    Overdue(Exit),
    /// We ended it, because the dispatcher stops.
    Stopped(Exit),
    /// Not yet: we asked it to end, because the dispatcher stops, and it still runs.
    Left,
}

/// A process that this dispatcher started or found.
#[derive(Debug)]
pub(super) enum Running {
    Child(Child),
    Adopted(Adopted),
    Gone,
}

/// A process that another dispatcher has started.
#[derive(Clone, Debug)]
pub(super) struct Adopted {
    /// `None` if a crash came before its pid was written, and `/proc` does not tell.
    id: Option<ProcessId>,
    output: PathBuf,
}

impl Adopted {
    /// Known by pid and birth. If these are missing, by its output file, which it holds open. `None`: it cannot be
    /// known.
    fn is_alive(&self) -> Option<bool> {
        let by_pid = self.id.as_ref().and_then(ProcessId::is_alive);
        by_pid.or_else(|| Files::has_writer(&self.output))
    }
}

/// Starts the next try. Records it before, so that it is found after a crash, and after, with its pid. Blocks.
pub(super) fn start(
    settings: &Settings,
    files: &Files,
    mut record: Record,
    job: &PlannedJob,
) -> Result<(Record, Running), StartError> {
    if record.try_number == 0 {
        files.clear().map_err(|error| disk(&error))?;
    }
    record.try_number += 1;
    record.process = None;
    let (mut command, program) = command(settings, files, record.try_number, job)?;
    files.write(&record).map_err(|error| disk(&error))?;
    let child = command.spawn().map_err(|error| spawn_error(&error, &program, job, &settings.absent))?;
    settings.absent.is_here(&program);
    record.process = child.id().and_then(|pid| i32::try_from(pid).ok()).map(ProcessId::of);
    if let Err(error) = files.write(&record) {
        // The process runs. Without its pid on disk, it would have to be found by its environment after a crash.
        tracing::warn!(job.name = %job.name, error = %error, "the process was not recorded");
    }
    Ok((record, Running::Child(child)))
}

fn command(
    settings: &Settings,
    files: &Files,
    try_number: u32,
    job: &PlannedJob,
) -> Result<(Command, String), StartError> {
    let spec = &job.spec;
    let program = match spec.command.first() {
        Some(command) => settings.images.program(command),
        None => settings.images.binary(&spec.image),
    };
    let Some(program) = program else {
        let message = format!("image {:?} names no binary", spec.image);
        return Err(StartError::Refused(FailureClass::ImageNotFound, message));
    };
    let termination = files.termination(try_number);
    let mut variables = environment::of(spec, &settings.sources)?;
    variables.insert("TERMINATION_LOG".to_owned(), termination.display().to_string());
    if let Some((url, token)) = &settings.sink {
        variables.insert("K_SINK".to_owned(), url.clone());
        variables.insert("SINK_TOKEN".to_owned(), token.expose().to_owned());
    }
    environment::check(&variables)?;
    let arguments: Vec<_> = spec
        .command
        .iter()
        .skip(1)
        .chain(&spec.args)
        .map(|text| expand(text, |name| variables.get(name).cloned()))
        .collect();
    // A file, not a pipe, so that a child can write when this dispatcher is gone.
    let output = files.create_output(try_number).map_err(|error| disk(&error))?;
    let errors = output.try_clone().map_err(|error| disk(&error))?;
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .kill_on_drop(false);
    if let Some(folder) = &spec.working_dir {
        if !std::path::Path::new(folder).is_dir() {
            let message = format!("the working directory {folder} does not exist on this machine");
            return Err(StartError::Refused(FailureClass::ConfigurationError, message));
        }
        command.current_dir(folder);
    }
    Ok((command, program.display().to_string()))
}

fn spawn_error(error: &io::Error, program: &str, job: &PlannedJob, absent: &Absent) -> StartError {
    let image = &job.spec.image;
    let message = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("image {image}: no binary at {program}; build it, or name it with --image {image}=PATH")
        }
        // The file may have been copied only in part.
        io::ErrorKind::PermissionDenied | io::ErrorKind::ExecutableFileBusy => {
            format!("image {image}: {program} cannot be run: {error}")
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            format!("image {image}: {program} cannot be run: {error}")
        }
        io::ErrorKind::ArgumentListTooLong | io::ErrorKind::InvalidInput => {
            let name = &job.name;
            let message =
                format!("the environment and arguments of {name} cannot be given to a process: {error}");
            return StartError::Refused(FailureClass::ConfigurationError, message);
        }
        _ => {
            return StartError::Later(
                FailureClass::LocalShortage,
                format!("cannot start {program}: {error}"),
            );
        }
    };
    if absent.may_come(program) {
        StartError::Later(FailureClass::ImageReplaced, message)
    } else {
        StartError::Refused(FailureClass::ImageNotFound, message)
    }
}

fn disk(error: &io::Error) -> StartError {
    StartError::Later(FailureClass::LocalShortage, format!("cannot use the state folder: {error}"))
}

impl Running {
    /// The process of a record, unless it has certainly ended. Blocks.
    pub(super) fn adopt(files: &Files, record: &Record) -> Self {
        let by_variable =
            || ProcessId::with_variable("TERMINATION_LOG", &files.termination(record.try_number));
        let id = record.process.clone().or_else(by_variable);
        let adopted = Adopted { id, output: files.output(record.try_number) };
        match adopted.is_alive() {
            Some(false) => return Self::Gone,
            Some(true) => {}
            None => tracing::warn!(
                job = %record.job, output = %adopted.output.display(),
                "whether its process still runs cannot be known, so it is not started again: make the state folder readable, or remove the Job's files there"
            ),
        }
        Self::Adopted(adopted)
    }

    /// The pid, if the process still exists. After an end that was not seen, the pid may belong to another process.
    pub(super) fn pid(&self) -> Option<i32> {
        match self {
            Self::Child(child) => i32::try_from(child.id()?).ok(),
            Self::Adopted(adopted) => {
                adopted.id.as_ref().filter(|_| adopted.is_alive() == Some(true)).map(|id| id.pid)
            }
            Self::Gone => None,
        }
    }

    /// Whether it may still run after it was told to end. Without its pid, it cannot be told.
    pub(super) fn may_run(&self) -> bool {
        matches!(self, Self::Adopted(adopted) if adopted.is_alive() != Some(false))
    }

    /// Waits for its end. Can be dropped and called again.
    pub(super) async fn wait(&mut self) -> Exit {
        use std::os::unix::process::ExitStatusExt;
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => match (status.code(), status.signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => Exit::Unseen,
                },
                Err(_) => Exit::Unseen,
            },
            Self::Adopted(adopted) => loop {
                let looked = adopted.clone();
                if let Ok(Some(false)) = tokio::task::spawn_blocking(move || looked.is_alive()).await {
                    break Exit::Unseen;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            },
            Self::Gone => Exit::Unseen,
        }
    }

    /// Sends SIGTERM, then after the grace time SIGKILL, each to the whole group.
    pub(super) async fn end(&mut self, grace: Duration) -> Exit {
        let Some(pid) = self.pid() else {
            // It has already ended, or its pid is unknown: then it can only end by itself.
            return tokio::time::timeout(grace, self.wait()).await.unwrap_or(Exit::Unseen);
        };
        if let Some(exit) = self.ask(grace).await {
            return exit;
        }
        signal(pid, Signal::KILL);
        self.wait().await
    }

    /// Sends SIGTERM to the whole group. `None`: after this time it still runs.
    pub(super) async fn ask(&mut self, patience: Duration) -> Option<Exit> {
        if let Some(pid) = self.pid() {
            signal(pid, Signal::TERM);
        }
        tokio::time::timeout(patience, self.wait()).await.ok()
    }
}

/// Signals the process group of a child. It is fine if the group is already gone.
pub(super) fn signal(pid: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(pid) {
        let _gone_already = rustix::process::kill_process_group(group, signal);
    }
}
