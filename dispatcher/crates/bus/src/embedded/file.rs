//! The queue's file: how it is opened, its tables, and which process may consume from it.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::config::shown;
use shared::private;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Executor, SqliteConnection, SqlitePool};

use super::unavailable;
use crate::{Error, Result};

/// The version of [`TABLES`], kept in `user_version`.
const VERSION: i64 = 2;

/// Times are microseconds since 1970. `due` is when a message may be taken: at once, after its delay, or when its
/// lease ends. Sequences are never used twice.
const TABLES: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS subjects (
        subject TEXT PRIMARY KEY,
        fetched INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS messages (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        subject TEXT NOT NULL,
        headers TEXT NOT NULL,
        payload BLOB NOT NULL,
        published_at INTEGER NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        tries INTEGER NOT NULL DEFAULT 0,
        due_at INTEGER NOT NULL,
        leased INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS due ON messages (subject, due_at, leased);
    CREATE TABLE IF NOT EXISTS seen (
        id TEXT PRIMARY KEY,
        sequence INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS seen_at ON seen (at);
    CREATE TABLE IF NOT EXISTS dead_letters (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        subject TEXT NOT NULL,
        headers TEXT NOT NULL,
        payload BLOB NOT NULL
    );
    PRAGMA user_version = 2;
    COMMIT;
";

/// The change from version 1.
const TRIES: &str = "
    BEGIN IMMEDIATE;
    ALTER TABLE messages ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
    PRAGMA user_version = 2;
    COMMIT;
";

/// The right to consume; ends with the process at the latest.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(queue: &Path) -> Result<Self> {
        create_private(queue)?;
        let path = lock_path(queue);
        let problem = |error: &dyn std::fmt::Display| {
            Error::Configuration(format!("the queue's lock {} cannot be taken: {error}", shown(&path)))
        };
        let mut file = private::open(&path).map_err(|error| problem(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(Error::Configuration(format!(
                    "the queue {} is in use by another dispatcher (process {}): stop that one, or set DISPATCHER_QUEUE to \
                     another file",
                    shown(queue),
                    holder.trim()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(problem(&error)),
        }
        // Read only for the message above.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

/// Opens the file for writing, and creates its tables.
pub(super) async fn open(queue: &Path) -> Result<SqliteConnection> {
    create_private(queue)?;
    let broken = |error: sqlx::Error| {
        if matches!(&error, sqlx::Error::Database(error) if error.code().as_deref() == Some("26")) {
            Error::Configuration(format!(
                "{} is not a queue: set DISPATCHER_QUEUE to another file",
                shown(queue)
            ))
        } else {
            unavailable(queue, &error)
        }
    };
    let mut connection = options(queue).connect().await.map_err(broken)?;
    let version: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await.map_err(broken)?;
    match version {
        0 => connection.execute(TABLES).await.map(drop).map_err(broken)?,
        1 => connection.execute(TRIES).await.map(drop).map_err(broken)?,
        VERSION => {}
        newer => {
            return Err(Error::Configuration(format!(
                "the queue {} has format {newer}, this dispatcher reads {VERSION}: use the dispatcher that wrote it",
                shown(queue)
            )));
        }
    }
    Ok(connection)
}

/// Connections that read while the writer writes.
pub(super) fn readers(queue: &Path) -> SqlitePool {
    SqlitePoolOptions::new().max_connections(2).connect_lazy_with(options(queue).read_only(true))
}

fn options(queue: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(queue)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
}

/// Events hold names and addresses, so only the owner may read the file. `SQLite` gives its other files the same
/// mode.
fn create_private(queue: &Path) -> Result<()> {
    let problem = |error: std::io::Error| {
        Error::Configuration(format!(
            "the queue {} cannot be made: {error}; see DISPATCHER_QUEUE",
            shown(queue)
        ))
    };
    if let Some(folder) = queue.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        private::folder(folder).map_err(problem)?;
    }
    private::open(queue).map(drop).map_err(problem)
}

fn lock_path(queue: &Path) -> PathBuf {
    let mut path = queue.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}
