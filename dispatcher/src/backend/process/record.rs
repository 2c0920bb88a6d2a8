//! A Job on disk: `jobs/<namespace>.<name>/` with its record, its output and its termination message.
//!
//! One dispatcher at a time owns a folder, by a lock on the record's file that ends with its holder. A record is one line
//! at the end of that file, and the last whole one counts: a crash at any point leaves the old or the new one. They are
//! not flushed: they outlive the dispatcher, not the machine, and neither does a child. One file that grows, instead of one
//! that is replaced, because making and removing files is what costs most of all on a disk.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use shared::config::Secret;
use shared::error::{Error, Result};

use super::super::Again;
use super::super::adoption::Known;
use super::super::outcome::MAX_TERMINATION_MESSAGE;
use super::super::{Ran, Report, Try};
use super::identity::ProcessId;
use super::{Outcome, tidy};
use crate::plan::{Identity, PlannedJob};

const RECORD: &str = "record.json";

/// A file of records longer than this begins anew with the next event.
const LONG: u64 = 64 << 10;

/// What is known of a Job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) job: String,
    pub(super) trigger: String,
    pub(super) identity: String,
    pub(super) event: String,
    pub(super) event_id: String,
    pub(super) attempt: u32,
    pub(super) failures: u32,
    pub(super) process: Option<ProcessId>,
    started_ms: u64,
    ttl_seconds: Option<u64>,
    ended: Option<Ended>,
    /// The tries before the current one.
    #[serde(default)]
    pub(super) earlier: Vec<Try>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ended {
    at_ms: u64,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Record {
    pub(super) fn new(job: &PlannedJob, again: Again) -> Self {
        Self {
            job: format!("{}/{}", job.namespace, job.name),
            trigger: job.identity.trigger.clone(),
            identity: job.identity.hash(),
            event: job.identity.event_hash(),
            event_id: job.identity.event_id.clone(),
            attempt: 0,
            failures: 0,
            process: None,
            started_ms: milliseconds(SystemTime::now()),
            // What may never run again must be remembered for ever.
            ttl_seconds: job
                .spec
                .ttl_after_finished
                .filter(|_| again == Again::Replace)
                .map(|ttl| ttl.as_secs()),
            ended: None,
            earlier: Vec::new(),
        }
    }

    /// How it ended, and what there is to know of it.
    pub(super) fn ran(self, outcome: Outcome, adopted: bool) -> Ran {
        let started_at = Some(self.started());
        Ran { outcome, attempts: self.attempt, adopted, started_at, earlier: self.earlier }
    }

    pub(super) fn started(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.started_ms)
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        self.process = None;
        self.ended = Some(Ended { at_ms: milliseconds(SystemTime::now()), outcome });
    }

    /// When it may be removed, in milliseconds since 1970. `None`: never, or not yet known.
    pub(super) fn expires_ms(&self) -> Option<u64> {
        Some(self.ended.as_ref()?.at_ms + self.ttl_seconds? * 1000)
    }
}

impl Known for Record {
    fn event(&self) -> &str {
        &self.event
    }

    fn outcome(&self) -> Option<Outcome> {
        self.ended.as_ref().map(|ended| ended.outcome.clone())
    }
}

/// A Job's folder, ours until dropped.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
    state_dir: PathBuf,
    /// Nothing of an earlier run is in it.
    is_new: bool,
    /// Where the records are, and the lock.
    file: Arc<File>,
}

impl Folder {
    /// The folder, where no one else has it. Blocks, as all here.
    pub(super) fn try_lock(state_dir: &Path, name: &str) -> io::Result<Option<Self>> {
        let path = state_dir.join("jobs").join(name);
        let is_new = make_new_dir(&path)?;
        let record = path.join(RECORD);
        let file = match OpenOptions::new().read(true).append(true).create(true).open(&record) {
            Ok(file) => file,
            // Removed between the two lines by whoever tidies up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // A lock on a file that was removed meanwhile guards nothing.
        let ours = file.metadata()?;
        let still_there =
            fs::metadata(&record).is_ok_and(|now| (ours.dev(), ours.ino()) == (now.dev(), now.ino()));
        // Whoever made the folder may have lost the race for its lock.
        let is_new = is_new && ours.len() == 0;
        Ok(still_there.then(|| Self { path, state_dir: state_dir.to_owned(), is_new, file: Arc::new(file) }))
    }

    /// A record that cannot be read is none: running a Job twice is harmless, never running it is not.
    pub(super) fn read(&self) -> io::Result<Option<Record>> {
        if self.is_new {
            return Ok(None);
        }
        let (mut file, mut bytes) = (&*self.file, Vec::new());
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(last(&bytes))
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        // A line break before it too: what stands there may be half a line of a crash.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, record)?;
        line.push(b'\n');
        (&*self.file).write_all(&line)
    }

    /// Writes how the Job ended, and notes when its folder may go.
    pub(super) fn end(&self, record: &mut Record, outcome: Outcome) -> io::Result<()> {
        record.end(outcome);
        self.write(record)?;
        record.expires_ms().map_or(Ok(()), |at| tidy::remember(&self.state_dir, at, &self.path))
    }

    /// An empty file for the output of a try.
    pub(super) fn output(&self, attempt: u32) -> PathBuf {
        self.path.join(format!("output-{attempt}.log"))
    }

    /// Where a try leaves its termination message.
    pub(super) fn termination(&self, attempt: u32) -> PathBuf {
        self.path.join(format!("termination-{attempt}"))
    }

    /// What a try said about itself: its termination message, or the last line of its output.
    pub(super) fn report(&self, attempt: u32) -> Report {
        let read = || {
            let said = head(&self.termination(attempt))?;
            let output = if said.trim().is_empty() { tail(&self.output(attempt))? } else { String::new() };
            io::Result::Ok(Report::from_end(&said, &output))
        };
        read().unwrap_or_default()
    }

    /// Removes what earlier runs left, so that nothing of them is taken for this one's.
    pub(super) fn clear(&self) -> io::Result<()> {
        if self.is_new {
            return Ok(());
        }
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() != RECORD {
                fs::remove_file(entry.path())?;
            }
        }
        // What it says is over: a crash before the next line would only run an answered event's Job again.
        if self.file.metadata()?.len() > LONG {
            self.file.set_len(0)?;
        }
        Ok(())
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// The newest record of a file.
fn last(bytes: &[u8]) -> Option<Record> {
    bytes.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice(line).ok())
}

/// How the folder of a Job is called below `jobs/`.
pub(super) fn folder_name(namespace: &str, name: &str) -> Result<String> {
    let name = format!("{namespace}.{name}");
    if name.contains(['/', '\0']) || name.starts_with('.') || name.len() > 250 {
        return Err(Error::input(format!("{name:?} cannot be the name of a Job")));
    }
    Ok(name)
}

/// The state folder and its parts, for this user only: outputs and termination messages hold people's data.
pub(super) fn prepare(state_dir: &Path) -> Result<()> {
    for folder in [state_dir.join("jobs"), state_dir.join("expiry")] {
        make_dir(&folder).map_err(|error| {
            let message = format!(
                "cannot use the state folder {}; set --state-dir to a writable one",
                state_dir.display()
            );
            Error::configuration(message).because(error)
        })?;
    }
    Ok(())
}

/// The token in the state folder, made at the first call. The folder is this user's alone.
pub(super) fn sink_token(state_dir: &Path) -> io::Result<Secret> {
    let path = state_dir.join("sink-token");
    match fs::read_to_string(&path) {
        Ok(token) if !token.trim().is_empty() => return Ok(Secret::from(token.trim().to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let token = shared::Uuid::new_v4().simple().to_string();
    let new = state_dir.join("sink-token.new");
    fs::write(&new, &token)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    fs::rename(new, path)?;
    Ok(Secret::from(token))
}

/// Held by whoever follows a running Job: a deletion of that is to be tried again.
const LOCKED_AT_MOST: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Folder {
    fn lock_soon(state_dir: &Path, name: &str) -> io::Result<Self> {
        let give_up = Instant::now() + LOCKED_AT_MOST;
        loop {
            if let Some(folder) = Self::try_lock(state_dir, name)? {
                return Ok(folder);
            }
            if Instant::now() > give_up {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("the Job {name} is running")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Every Job of an identity, each locked by us.
pub(super) async fn of_identity(state_dir: &Path, identity: &Identity) -> Result<Vec<(Folder, Record)>> {
    let (state_dir, hash) = (state_dir.to_owned(), identity.hash());
    blocking(move || {
        let mut found = Vec::new();
        for entry in fs::read_dir(state_dir.join("jobs"))? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            let path = state_dir.join("jobs").join(&name).join(RECORD);
            let record = fs::read(path).ok().and_then(|bytes| last(&bytes));
            let Some(record) = record.filter(|record| record.identity == hash) else { continue };
            found.push((Folder::lock_soon(&state_dir, &name)?, record));
        }
        Ok(found)
    })
    .await
}

/// Removes every ended Job of an identity that is none of `kept`. One that somebody holds is not touched.
pub(super) async fn prune(state_dir: &Path, identity: &Identity, kept: BTreeSet<String>) -> Result<()> {
    let (state_dir, hash) = (state_dir.to_owned(), identity.hash());
    blocking(move || {
        let goes = |record: &Record| {
            record.identity == hash && !kept.contains(&record.job) && record.outcome().is_some()
        };
        for entry in fs::read_dir(state_dir.join("jobs"))? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            let path = state_dir.join("jobs").join(&name).join(RECORD);
            let record = fs::read(path).ok().and_then(|bytes| last(&bytes));
            if !record.is_some_and(|record| goes(&record)) {
                continue;
            }
            // Read again under the lock: it may have become another one.
            if let Some(folder) = Folder::try_lock(&state_dir, &name)?
                && folder.read()?.is_some_and(|record| goes(&record))
            {
                folder.remove()?;
            }
        }
        Ok(())
    })
    .await
}

fn head(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_TERMINATION_MESSAGE as u64).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(MAX_TERMINATION_MESSAGE as u64)))?;
    let mut bytes = Vec::new();
    file.take(MAX_TERMINATION_MESSAGE as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether it was not there.
fn make_new_dir(path: &Path) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // Somebody removed the state folder.
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(path).map(|()| true),
        Err(error) => Err(error),
    }
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::bug("file work failed").because(error))?;
    done.map_err(|error| Error::unavailable("cannot use the state folder").because(error))
}
