//! One connection to either kind of database, with the few calls the steps need.
//!
//! A worker runs one transaction on one connection, so there is no pool; a connection dropped before
//! [`Connection::commit`] takes its transaction back.

#[cfg(feature = "sqlite")]
use sqlx::{Executor, SqliteConnection};

use super::row::Row;
use super::server::Server;
use super::value::Value;
#[cfg(feature = "sqlite")]
use super::value::bound;
use crate::error::{Error, Result};

/// A connection.
pub enum Connection {
    /// MySQL or MariaDB.
    MySql(Server),
    /// An SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteConnection),
}

/// Why a statement failed.
#[derive(Debug)]
pub enum Failure {
    /// The row is there already; the key that says so, as the database names it.
    Duplicate(String),
    /// Everything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Duplicate(key) => Self::bug(format!("a row is there already ({key})")),
            Failure::Other(error) => error,
        }
    }
}

impl Connection {
    /// Whether this is an SQLite file, which locks as a whole.
    pub const fn is_sqlite(&self) -> bool {
        !matches!(self, Self::MySql(_))
    }

    /// Begins a transaction: on a server with the next statement.
    pub async fn begin(&mut self) -> Result<()> {
        match self {
            Self::MySql(server) => {
                server.begin();
                Ok(())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => {
                let begun = file.execute(sqlx::raw_sql("BEGIN IMMEDIATE")).await;
                begun.map(drop).map_err(|error| explain("cannot begin a transaction", error))
            }
        }
    }

    /// Makes everything since [`Self::begin`] final.
    pub async fn commit(&mut self) -> Result<()> {
        let committed = match self {
            Self::MySql(server) => server.commit().await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => file.execute(sqlx::raw_sql("COMMIT")).await.map(drop),
        };
        committed.map_err(|error| explain("cannot commit", error))
    }

    /// Runs a statement; answers how many rows it changed. A duplicate key is an answer, not an error.
    pub async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> std::result::Result<u64, Failure> {
        let done = match self {
            Self::MySql(server) => {
                let text = server.text(sql, values, "")?;
                server.execute(&text).await
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => file.execute(bound(sql, values)).await.map(|done| done.rows_affected()),
        };
        done.map_err(failure)
    }

    /// Runs the last statement of a transaction, and makes everything since [`Self::begin`] final.
    pub async fn execute_and_commit(&mut self, sql: &str, values: &[Value<'_>]) -> Result<()> {
        match self {
            Self::MySql(server) => {
                let text = server.text(sql, values, "; COMMIT")?;
                server.execute(&text).await.map_err(failure)?;
                Ok(())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => {
                self.execute(sql, values).await?;
                self.commit().await
            }
        }
    }

    /// All rows of a query.
    pub async fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        let rows: sqlx::Result<Vec<Row>> = match self {
            Self::MySql(server) => {
                let text = server.text(sql, values, "")?;
                server.rows(&text).await.map(|rows| rows.into_iter().map(Row::from).collect())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => {
                let rows = file.fetch_all(bound(sql, values)).await;
                rows.map(|rows| rows.into_iter().map(Row::from).collect())
            }
        };
        rows.map_err(|error| explain("a query failed", error))
    }

    /// The first row of a query.
    pub async fn row(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// All rows of a query, locked until the transaction ends. SQLite has locked the whole file already.
    pub async fn locked_rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        if self.is_sqlite() {
            return self.rows(sql, values).await;
        }
        self.rows(&format!("{sql} FOR UPDATE"), values).await
    }
}

fn failure(error: sqlx::Error) -> Failure {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => {
            Failure::Duplicate(database.message().to_owned())
        }
        _ => Failure::Other(explain("a statement failed", error)),
    }
}

/// What a failure of the database means to us.
pub(super) fn explain(doing: &str, error: sqlx::Error) -> Error {
    let error = match error {
        sqlx::Error::Database(error) => error,
        sqlx::Error::Configuration(_) => return Error::configuration(doing).because(error),
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            return Error::unavailable(doing).because(error);
        }
        error => return Error::bug(doing).because(error),
    };
    let server = error
        .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        .map(sqlx::mysql::MySqlDatabaseError::number);
    let text = error.message().to_owned();
    match server {
        // Access denied (to the server, the database, a table), unknown database.
        Some(1045 | 1044 | 1142 | 1049 | 1698) => Error::configuration(doing).because(text),
        // No such table or column: the schema is older than this program.
        Some(1146 | 1054) => Error::unavailable(format!("{doing} (run `dispatcher migrate`)")).because(text),
        // Data too long, wrong value, syntax: we should have known better.
        Some(1406 | 1366 | 1292 | 1064 | 1048) => Error::bug(doing).because(text),
        None if text.contains("no such table") || text.contains("no such column") => {
            Error::unavailable(format!("{doing} (run `dispatcher migrate`)")).because(text)
        }
        None if text.contains("unable to open database file") => {
            Error::unavailable(format!("{doing} (run `dispatcher migrate` to make it)")).because(text)
        }
        // Deadlock, lock wait, too many connections, shutdown, read only, disk full, and what we have not met.
        _ => Error::unavailable(doing).because(text),
    }
}
