//! A Job on disk: `jobs/<namespace>.<name>/` with its record, its output and its termination message.
//!
//! One dispatcher at a time owns a folder, by a lock that ends with its holder. Records are replaced whole, so a crash at
//! any point leaves the old or the new one. They are not flushed: they outlive the dispatcher, not the machine, and
//! neither does a child.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use shared::config::Secret;
use shared::error::{Error, Result};

use super::super::Again;
use super::super::Report;
use super::super::adoption::Known;
use super::super::outcome::MAX_TERMINATION_MESSAGE;
use super::identity::ProcessId;
use super::{Outcome, tidy};
use crate::engine::stop::Stop;
use crate::plan::{Identity, PlannedJob};

const RECORD: &str = "record.json";
const LOCK: &str = "lock";

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
        }
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
    _lock: Arc<File>,
}

impl Folder {
    /// Waits until no one else has it. `None`: the dispatcher stops.
    pub(super) async fn lock(state_dir: &Path, job: &PlannedJob, stop: &Stop) -> Result<Option<Self>> {
        let name = folder_name(&job.namespace, &job.name)?;
        let mut pause = Duration::from_millis(10);
        loop {
            let (state_dir, name) = (state_dir.to_owned(), name.clone());
            if let Some(folder) = blocking(move || Self::try_lock(&state_dir, &name)).await? {
                return Ok(Some(folder));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(160)),
                () = stop.draining() => return Ok(None),
            }
        }
    }

    /// The folder, where no one else has it.
    pub(super) fn try_lock(state_dir: &Path, name: &str) -> io::Result<Option<Self>> {
        let path = state_dir.join("jobs").join(name);
        make_dir(&path)?;
        let lock_path = path.join(LOCK);
        let lock = match File::create(&lock_path) {
            Ok(lock) => lock,
            // Removed between the two lines by whoever tidies up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // A lock on a file that was removed meanwhile guards nothing.
        let still_there = fs::metadata(&lock_path).is_ok_and(|now| {
            lock.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino()))
        });
        Ok(still_there.then(|| Self { path, state_dir: state_dir.to_owned(), _lock: Arc::new(lock) }))
    }

    pub(super) async fn read(&self) -> Result<Option<Record>> {
        let this = self.clone();
        blocking(move || this.read_now()).await
    }

    /// A record that cannot be read is none: running a Job twice is harmless, never running it is not.
    pub(super) fn read_now(&self) -> io::Result<Option<Record>> {
        match fs::read(self.path.join(RECORD)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn write(&self, record: &Record) -> Result<()> {
        let (this, record) = (self.clone(), record.clone());
        blocking(move || {
            this.write_now(&record)?;
            match record.expires_ms() {
                Some(at) => tidy::remember(&this.state_dir, at, &this.path),
                None => Ok(()),
            }
        })
        .await
    }

    pub(super) fn write_now(&self, record: &Record) -> io::Result<()> {
        let new = self.path.join("record.new");
        fs::write(&new, serde_json::to_vec(record)?)?;
        fs::rename(new, self.path.join(RECORD))
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
    pub(super) async fn report(&self, attempt: u32) -> Report {
        let this = self.clone();
        let read = blocking(move || {
            let said = head(&this.termination(attempt))?;
            let output = if said.trim().is_empty() { tail(&this.output(attempt))? } else { String::new() };
            Ok(Report::from_end(&said, &output))
        });
        read.await.unwrap_or_default()
    }

    /// Removes what earlier runs left, so that nothing of them is taken for this one's.
    pub(super) fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() != LOCK && entry.file_name() != RECORD {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub(super) async fn remove(self) -> Result<()> {
        blocking(move || self.remove_now()).await
    }

    pub(super) fn remove_now(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
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
            let record = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
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
            let record = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
            if !record.is_some_and(|record| goes(&record)) {
                continue;
            }
            // Read again under the lock: it may have become another one.
            if let Some(folder) = Folder::try_lock(&state_dir, &name)?
                && folder.read_now()?.is_some_and(|record| goes(&record))
            {
                folder.remove_now()?;
            }
        }
        Ok(())
    })
    .await
}

fn head(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_TERMINATION_MESSAGE as u64).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(path: &Path) -> io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_TERMINATION_MESSAGE as u64)))?;
    let mut bytes = Vec::new();
    file.take(MAX_TERMINATION_MESSAGE as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
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
