//! The files of a Job, directly in `jobs/`: `<namespace>.<name>.json` with its records, `….<try>.log` with the output
//! of a try, and `….<try>.said` with its termination message.
//!
//! One dispatcher at a time owns a Job, through a lock on the file of records, which the system frees when its holder
//! ends. Each record is one line at the end of that file, so a crash at any point leaves the old or the new one.
//! Records are not flushed to the disk: they outlive the dispatcher but not the machine, and so does a child. There
//! are as few files as possible, and no folder for each Job, because creating and removing files costs most.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use shared::config::shown;
use shared::error::{Error, Result};
use shared::private;

use super::super::adoption::Known;
use super::super::{Outcome, Report};
use super::record::{Record, last};
use job::MAX_TERMINATION_MESSAGE;
use rules::plan::Identity;

/// The end of the name of a file of records.
const RECORDS: &str = ".json";

/// Expiry times are rounded to the minute.
pub(super) const MINUTE_MS: u64 = 60_000;

/// When a file of records is longer, the next event begins a new one.
const LONG: u64 = 64 << 10;

/// The files of a Job, locked by us until dropped.
#[derive(Clone, Debug)]
pub(super) struct Files {
    state_dir: PathBuf,
    name: String,
    /// There is nothing from an earlier run.
    is_new: bool,
    /// The records, and the lock on their file.
    records: Arc<File>,
}

impl Files {
    /// The files, if no other dispatcher holds them. Blocks, like all functions here.
    pub(super) fn try_lock(state_dir: &Path, name: &str) -> io::Result<Option<Self>> {
        let path = in_jobs(state_dir, &format!("{name}{RECORDS}"));
        let records = open(&path)?;
        match records.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let is_new = records.metadata()?.len() == 0;
        let (state_dir, name, records) = (state_dir.to_owned(), name.to_owned(), Arc::new(records));
        let files = Self { state_dir, name, is_new, records };
        Ok(files.are_ours().then_some(files))
    }

    /// Whether the lock still protects the Job. If its file was removed or replaced, another dispatcher has taken
    /// over.
    pub(super) fn are_ours(&self) -> bool {
        let now = fs::metadata(in_jobs(&self.state_dir, &format!("{}{RECORDS}", self.name)));
        matches!((self.records.metadata(), now), (Ok(ours), Ok(now)) if same_file(&ours, &now))
    }

    /// Gives a sign of life to those who wait for the lock.
    pub(super) fn touch(&self) -> io::Result<()> {
        self.records.set_modified(SystemTime::now())
    }

    /// The last record. An unreadable record counts as missing: running a Job twice is harmless, never running it is
    /// not.
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
        // A line break comes first too, because half a line may be left from a crash.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, record)?;
        line.push(b'\n');
        (&*self.records).write_all(&line)
    }

    /// Records how the Job ended, and when its files may be removed.
    pub(super) fn end(&self, record: &mut Record, outcome: Outcome) -> io::Result<()> {
        record.end(outcome);
        self.write(record)?;
        record.expires_ms().map_or(Ok(()), |at| expire(&self.state_dir, at, &self.name))
    }

    /// The path of a try's output.
    pub(super) fn output(&self, try_number: u32) -> PathBuf {
        output(&self.state_dir, &self.name, try_number)
    }

    /// The file for the output of a try. The process holds a lock on it while it runs. This tells whether the try
    /// still runs if nothing else does.
    pub(super) fn create_output(&self, try_number: u32) -> io::Result<File> {
        let output = private::create(&self.output(try_number))?;
        output.try_lock()?;
        Ok(output)
    }

    /// Whether a process holds this output open; `None` if that cannot be known.
    pub(super) fn has_writer(output: &Path) -> Option<bool> {
        match File::open(output).map(|output| output.try_lock()) {
            Ok(Ok(())) => Some(false),
            Ok(Err(TryLockError::WouldBlock)) => Some(true),
            Ok(Err(TryLockError::Error(_))) | Err(_) => None,
        }
    }

    /// The path of a try's termination message.
    pub(super) fn termination(&self, try_number: u32) -> PathBuf {
        in_jobs(&self.state_dir, &format!("{}.{try_number}.said", self.name))
    }

    /// What a try reported: its termination message, or the last line of its output.
    pub(super) fn report(&self, try_number: u32) -> Report {
        let read = || {
            let said = head(&self.termination(try_number))?;
            let output = if said.trim().is_empty() { tail(&self.output(try_number))? } else { String::new() };
            io::Result::Ok(Report::from_end(&said, &output))
        };
        read().unwrap_or_default()
    }

    /// Removes what an earlier run left, so that it is not taken for this run's.
    pub(super) fn clear(&self) -> io::Result<()> {
        if self.is_new {
            return Ok(());
        }
        self.remove_tries()?;
        // These records are finished: after a crash before the next line, a Job of an answered event would only run
        // again.
        if self.records.metadata()?.len() > LONG {
            self.records.set_len(0)?;
        }
        Ok(())
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        if !self.are_ours() {
            return Ok(());
        }
        self.remove_tries()?;
        gone(fs::remove_file(in_jobs(&self.state_dir, &format!("{}{RECORDS}", self.name))))
    }

    fn remove_tries(&self) -> io::Result<()> {
        // If the record cannot be read, there was at least one try.
        let tries = self.read()?.map_or(1, |record| record.try_number);
        for try_number in 1..=tries {
            gone(fs::remove_file(self.output(try_number)))?;
            gone(fs::remove_file(self.termination(try_number)))?;
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

/// The time between two signs of life of a dispatcher that follows a Job.
pub(super) const SIGN_EVERY: Duration = Duration::from_secs(1);

/// Without a sign of life for this long, the holder is frozen, or gone with its machine. Its lock is taken from it.
const LOCK_LEASE: Duration = Duration::from_secs(6);

/// A wait for the lock of a Job that another dispatcher follows.
#[derive(Debug)]
pub(super) struct Waiting {
    state_dir: PathBuf,
    name: String,
    /// The last sign of life, and when it was seen. Only our own clock counts.
    seen: Option<((u64, u64, i64, i64), Instant)>,
}

impl Waiting {
    pub(super) fn new(state_dir: &Path, name: &str) -> Self {
        Self { state_dir: state_dir.to_owned(), name: name.to_owned(), seen: None }
    }

    /// Whether the lock is free now. If its holder shows no sign of life, the lock is taken from it.
    pub(super) fn is_over(&mut self) -> io::Result<bool> {
        if Files::try_lock(&self.state_dir, &self.name)?.is_some() {
            return Ok(true);
        }
        let Some(sign) = self.sign()? else { return Ok(true) };
        match self.seen {
            Some((last, at)) if last == sign => {
                if at.elapsed() < LOCK_LEASE {
                    return Ok(false);
                }
                self.take_over(sign)
            }
            _ => {
                self.seen = Some((sign, Instant::now()));
                Ok(false)
            }
        }
    }

    fn sign(&self) -> io::Result<Option<(u64, u64, i64, i64)>> {
        match fs::metadata(self.records()) {
            Ok(file) => Ok(Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Continues the records in a new file. The old file, and the lock on it, stay with their holder.
    fn take_over(&self, stale: (u64, u64, i64, i64)) -> io::Result<bool> {
        // One dispatcher at a time, and only if the file is still as it was seen.
        let turn = open(&in_jobs(&self.state_dir, "taking-over"))?;
        match turn.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if self.sign()? != Some(stale) {
            return Ok(false);
        }
        let path = self.records();
        let new = in_jobs(&self.state_dir, "taken-over");
        gone(fs::remove_file(&new))?;
        open(&new)?.write_all(&fs::read(&path)?)?;
        fs::rename(&new, &path)?;
        tracing::warn!(
            files = self.name,
            "the dispatcher that follows this Job shows no sign of life: another one follows it from here"
        );
        Ok(true)
    }

    fn records(&self) -> PathBuf {
        in_jobs(&self.state_dir, &format!("{}{RECORDS}", self.name))
    }
}

fn same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The holder still follows a running Job: try the deletion again later.
const LOCKED_AT_MOST: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The common beginning of the names of a Job's files.
pub(super) fn name(namespace: &str, name: &str) -> Result<String> {
    let name = format!("{namespace}.{name}");
    if name.contains(['/', '\0']) || name.starts_with('.') || name.len() > 230 {
        return Err(Error::input(format!("{name:?} cannot be the name of a Job")));
    }
    Ok(name)
}

/// The output of a try.
pub(super) fn output(state_dir: &Path, name: &str, try_number: u32) -> PathBuf {
    in_jobs(state_dir, &format!("{name}.{try_number}.log"))
}

/// The newest record of a Job, even if another dispatcher holds its files.
pub(super) fn newest(state_dir: &Path, name: &str) -> io::Result<Option<Record>> {
    match fs::read(in_jobs(state_dir, &format!("{name}{RECORDS}"))) {
        Ok(bytes) => Ok(last(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates the state folder and its parts, for this user only, because outputs and termination messages contain
/// personal data.
pub(super) fn prepare(state_dir: &Path) -> Result<()> {
    for folder in [state_dir.to_owned(), state_dir.join("jobs"), state_dir.join("expiry")] {
        private::folder(&folder).map_err(|error| {
            let message = format!(
                "cannot use the state folder {}; set --state-dir to a writable one",
                shown(state_dir)
            );
            Error::configuration(message).because(error)
        })?;
    }
    Ok(())
}

/// Notes in `expiry/<minute>` that the files of this Job may be removed at `at_ms`.
fn expire(state_dir: &Path, at_ms: u64, name: &str) -> io::Result<()> {
    let path = state_dir.join("expiry").join((at_ms / MINUTE_MS + 1).to_string());
    // One write of one short line, so that lines of several dispatchers do not mix.
    private::open(&path)?.write_all(format!("{name}\n").as_bytes())
}

/// Calls `each` with every Job of an identity, locked by us.
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

/// Removes every ended Job of an identity that is not in `kept`. A Job whose files are held is not touched.
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
            // Read again under the lock, because it may have changed.
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

/// The beginnings of the file names of all Jobs.
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
    match (private::open(path), path.parent()) {
        // Somebody has removed the state folder.
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            private::folder(folder)?;
            private::open(path)
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

/// The last bytes of a file, at most `most`, as text; `None` if there is no such file.
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

/// Removes a file. It is fine if it is already gone.
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
