//! One process: started in its own group with an environment of its own, awaited, ended with grace.

use std::fs::File;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::super::outcome::StartError;
use super::super::policy::Exit;
use super::super::{Cause, environment};
use super::Settings;
use super::files::Files;
use super::identity::ProcessId;
use super::record::Record;
use crate::plan::{PlannedJob, expand};

/// How often an adopted process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How waiting for a process ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    Exited(Exit),
    /// By us, at the Job's deadline.
    Overdue(Exit),
    /// By us, because the dispatcher stops.
    Stopped(Exit),
}

/// A process that we started or found.
#[derive(Debug)]
pub(super) enum Running {
    Child(Child),
    Adopted(ProcessId),
    Gone,
}

/// Starts the next try and records it, before (so that a crash finds it) and after (with its pid). Blocks.
pub(super) fn start(
    settings: &Settings,
    files: &Files,
    mut record: Record,
    job: &PlannedJob,
) -> Result<(Record, Running), StartError> {
    if record.attempt == 0 {
        files.clear().map_err(|error| disk(&error))?;
    }
    record.attempt += 1;
    record.process = None;
    let (mut command, program) = command(settings, files, record.attempt, job)?;
    files.write(&record).map_err(|error| disk(&error))?;
    let child = command.spawn().map_err(|error| spawn_error(&error, &program, job))?;
    record.process = child.id().and_then(|pid| ProcessId::of(i32::try_from(pid).ok()?));
    if let Err(error) = files.write(&record) {
        // It runs; without its pid on disk a crash would look for it by its environment.
        tracing::warn!(job.name = %job.name, error = %error, "the process was not recorded");
    }
    Ok((record, Running::Child(child)))
}

fn command(
    settings: &Settings,
    files: &Files,
    attempt: u32,
    job: &PlannedJob,
) -> Result<(Command, String), StartError> {
    let spec = &job.spec;
    let program = match spec.command.first() {
        Some(command) => settings.images.program(command),
        None => settings.images.binary(&spec.image),
    };
    let Some(program) = program else {
        let message = format!("image {:?} names no binary", spec.image);
        return Err(StartError::Refused(Cause::ImageNotFound, message));
    };
    let termination = files.termination(attempt);
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
    // A file, not a pipe: a child must be able to write when this dispatcher is gone.
    let output = File::create(files.output(attempt)).map_err(|error| disk(&error))?;
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
            return Err(StartError::Refused(Cause::ConfigurationError, message));
        }
        command.current_dir(folder);
    }
    Ok((command, program.display().to_string()))
}

fn spawn_error(error: &io::Error, program: &str, job: &PlannedJob) -> StartError {
    let image = &job.spec.image;
    match error.kind() {
        io::ErrorKind::NotFound => StartError::Refused(
            Cause::ImageNotFound,
            format!("image {image}: no binary at {program}; build it, or name it with --image {image}=PATH"),
        ),
        io::ErrorKind::PermissionDenied => StartError::Refused(
            Cause::ImageNotFound,
            format!("image {image}: {program} cannot be run: {error}"),
        ),
        io::ErrorKind::ArgumentListTooLong | io::ErrorKind::InvalidInput => StartError::Refused(
            Cause::ConfigurationError,
            format!("the environment and arguments of {} cannot be given to a process: {error}", job.name),
        ),
        _ => StartError::Later(format!("cannot start {program}: {error}")),
    }
}

fn disk(error: &io::Error) -> StartError {
    StartError::Later(format!("cannot use the state folder: {error}"))
}

impl Running {
    /// The process of a record, if it still runs: by its pid, or by its environment where a crash came before the pid.
    /// Blocks.
    pub(super) fn adopt(files: &Files, record: &Record) -> Self {
        let found = match &record.process {
            Some(id) => Some(id.clone()).filter(ProcessId::is_alive),
            None => ProcessId::with_variable("TERMINATION_LOG", &files.termination(record.attempt)),
        };
        found.map_or(Self::Gone, Self::Adopted)
    }

    pub(super) fn pid(&self) -> Option<i32> {
        match self {
            Self::Child(child) => i32::try_from(child.id()?).ok(),
            Self::Adopted(id) => Some(id.pid),
            Self::Gone => None,
        }
    }

    /// Waits for its end. Safe to drop and call again.
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
            Self::Adopted(id) => loop {
                let id = id.clone();
                if !tokio::task::spawn_blocking(move || id.is_alive()).await.unwrap_or(false) {
                    break Exit::Unseen;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            },
            Self::Gone => Exit::Unseen,
        }
    }

    /// SIGTERM, then after the grace time SIGKILL, each to the whole group.
    pub(super) async fn end(&mut self, grace: Duration) -> Exit {
        let Some(pid) = self.pid() else { return self.wait().await };
        signal(pid, Signal::TERM);
        if let Ok(exit) = tokio::time::timeout(grace, self.wait()).await {
            return exit;
        }
        signal(pid, Signal::KILL);
        self.wait().await
    }
}

/// To the process group that a child of ours leads. One that is gone already is fine.
pub(super) fn signal(pid: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(pid) {
        let _gone_already = rustix::process::kill_process_group(group, signal);
    }
}
