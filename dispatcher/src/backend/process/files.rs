//! A Job on disk, flat below `jobs/`: `<namespace>.<name>.json` with its records, `….<try>.log` with the output of a try,
//! `….<try>.said` with its termination message.
//!
//! One dispatcher at a time owns a Job, by a lock on the records' file that ends with its holder. A record is one line
//! at the end of that file: a crash at any point leaves the old or the new one. They are not flushed: they outlive the
//! dispatcher, not the machine, and neither does a child. As few files as can be, and no folder for each Job: making and
//! removing them is what costs most of all on a disk.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::error::{Error, Result};

use super::super::adoption::Known;
use super::super::outcome::MAX_TERMINATION_MESSAGE;
use super::super::{Outcome, Report};
use super::record::{Record, last};
use crate::plan::Identity;

/// How the file of a Job's records ends.
const RECORDS: &str = ".json";

/// What may go is noted by the minute.
pub(super) const MINUTE_MS: u64 = 60_000;

/// A file of records longer than this begins anew with the next event.
const LONG: u64 = 64 << 10;

/// A Job's files, ours until dropped.
#[derive(Clone, Debug)]
pub(super) struct Files {
    state_dir: PathBuf,
    name: String,
    /// There is nothing of an earlier run.
    is_new: bool,
    /// Where the records are, and the lock.
    records: Arc<File>,
}

impl Files {
    /// The files, where no one else has them. Blocks, as all here.
    pub(super) fn try_lock(state_dir: &Path, name: &str) -> io::Result<Option<Self>> {
        let path = in_jobs(state_dir, &format!("{name}{RECORDS}"));
        let records = open(&path)?;
        match records.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let ours = records.metadata()?;
        let is_new = ours.len() == 0;
        // A lock on a file that was removed meanwhile guards nothing.
        let still_there =
            fs::metadata(&path).is_ok_and(|now| (ours.dev(), ours.ino()) == (now.dev(), now.ino()));
        Ok(still_there.then(|| Self {
            state_dir: state_dir.to_owned(),
            name: name.to_owned(),
            is_new,
            records: Arc::new(records),
        }))
    }

    /// A record that cannot be read is none: running a Job twice is harmless, never running it is not.
    pub(super) fn read(&self) -> io::Result<Option<Record>> {
        if self.is_new {
            return Ok(None);
        }
        let (mut file, mut bytes) = (&*self.records, Vec::new());
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(last(&bytes))
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        // A line break before it too: what stands there may be half a line of a crash.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, record)?;
        line.push(b'\n');
        (&*self.records).write_all(&line)
    }

    /// Writes how the Job ended, and notes when its files may go.
    pub(super) fn end(&self, record: &mut Record, outcome: Outcome) -> io::Result<()> {
        record.end(outcome);
        self.write(record)?;
        record.expires_ms().map_or(Ok(()), |at| expire(&self.state_dir, at, &self.name))
    }

    /// The output of a try.
    pub(super) fn output(&self, attempt: u32) -> PathBuf {
        output(&self.state_dir, &self.name, attempt)
    }

    /// Where a try leaves its termination message.
    pub(super) fn termination(&self, attempt: u32) -> PathBuf {
        in_jobs(&self.state_dir, &format!("{}.{attempt}.said", self.name))
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

    /// Removes what an earlier run left, so that nothing of it is taken for this one's.
    pub(super) fn clear(&self) -> io::Result<()> {
        if self.is_new {
            return Ok(());
        }
        self.remove_tries()?;
        // What it says is over: a crash before the next line would only run an answered event's Job again.
        if self.records.metadata()?.len() > LONG {
            self.records.set_len(0)?;
        }
        Ok(())
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        self.remove_tries()?;
        gone(fs::remove_file(in_jobs(&self.state_dir, &format!("{}{RECORDS}", self.name))))
    }

    fn remove_tries(&self) -> io::Result<()> {
        // Where the record cannot be read, there was at least one.
        let tries = self.read()?.map_or(1, |record| record.attempt);
        for attempt in 1..=tries {
            gone(fs::remove_file(self.output(attempt)))?;
            gone(fs::remove_file(self.termination(attempt)))?;
        }
        Ok(())
    }

    fn lock_soon(state_dir: &Path, name: &str) -> io::Result<Self> {
        let give_up = Instant::now() + LOCKED_AT_MOST;
        loop {
            if let Some(files) = Self::try_lock(state_dir, name)? {
                return Ok(files);
            }
            if Instant::now() > give_up {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("the Job {name} is running")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Held by whoever follows a running Job: a deletion of that is to be tried again.
const LOCKED_AT_MOST: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How the files of a Job begin.
pub(super) fn name(namespace: &str, name: &str) -> Result<String> {
    let name = format!("{namespace}.{name}");
    if name.contains(['/', '\0']) || name.starts_with('.') || name.len() > 230 {
        return Err(Error::input(format!("{name:?} cannot be the name of a Job")));
    }
    Ok(name)
}

/// The output of a Job's try.
pub(super) fn output(state_dir: &Path, name: &str, attempt: u32) -> PathBuf {
    in_jobs(state_dir, &format!("{name}.{attempt}.log"))
}

/// The newest record of a Job, whoever has its files.
pub(super) fn newest(state_dir: &Path, name: &str) -> io::Result<Option<Record>> {
    match fs::read(in_jobs(state_dir, &format!("{name}{RECORDS}"))) {
        Ok(bytes) => Ok(last(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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

/// Notes in `expiry/<minute>` that the files of this Job may be removed at `at_ms`.
fn expire(state_dir: &Path, at_ms: u64, name: &str) -> io::Result<()> {
    let path = state_dir.join("expiry").join((at_ms / MINUTE_MS + 1).to_string());
    // One write of one short line: lines of several dispatchers do not mix.
    OpenOptions::new().create(true).append(true).open(path)?.write_all(format!("{name}\n").as_bytes())
}

/// Every Job of an identity, each locked by us.
pub(super) async fn of_identity(state_dir: &Path, identity: &Identity) -> Result<Vec<(Files, Record)>> {
    let (state_dir, hash) = (state_dir.to_owned(), identity.hash());
    blocking(move || {
        let mut found = Vec::new();
        for name in names(&state_dir)? {
            let Some(record) = newest(&state_dir, &name)?.filter(|record| record.identity == hash) else {
                continue;
            };
            found.push((Files::lock_soon(&state_dir, &name)?, record));
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
        for name in names(&state_dir)? {
            if !newest(&state_dir, &name)?.is_some_and(|record| goes(&record)) {
                continue;
            }
            // Read again under the lock: it may have become another one.
            if let Some(files) = Files::try_lock(&state_dir, &name)?
                && files.read()?.is_some_and(|record| goes(&record))
            {
                files.remove()?;
            }
        }
        Ok(())
    })
    .await
}

/// Of all Jobs, how their files begin.
fn names(state_dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(state_dir.join("jobs"))? {
        let file = entry?.file_name();
        names.extend(file.to_str().and_then(|file| file.strip_suffix(RECORDS)).map(str::to_owned));
    }
    Ok(names)
}

fn in_jobs(state_dir: &Path, file: &str) -> PathBuf {
    state_dir.join("jobs").join(file)
}

fn open(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    match (open(), path.parent()) {
        // Somebody removed the state folder.
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            make_dir(folder)?;
            open()
        }
        (opened, _) => opened,
    }
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
    Ok(end_of(path, MAX_TERMINATION_MESSAGE as u64)?.unwrap_or_default())
}

/// The last bytes of a file, at most so many, as text. `None`: there is no such file.
pub(super) fn end_of(path: &Path, most: u64) -> io::Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    if length > 0 {
        file.seek(io::SeekFrom::Start(length.saturating_sub(most)))?;
        file.take(most).read_to_end(&mut bytes)?;
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What is gone already is fine.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::bug("file work failed").because(error))?;
    done.map_err(|error| Error::unavailable("cannot use the state folder").because(error))
}
