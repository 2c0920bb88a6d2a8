//! One connection to either kind of database, with the few calls that the steps need.
//!
//! A worker runs one transaction on one connection, so there is no pool. A connection that is dropped before
//! [`Connection::commit`] rolls its transaction back.

#[cfg(feature = "sqlite")]
use sqlx::{Executor, SqliteConnection};

use super::fault;
use super::row::Row;
use super::server::Server;
use super::statement::Statement;
use super::value::Value;
#[cfg(feature = "sqlite")]
use super::value::bound;
use crate::error::{Error, Result};

/// A connection to a database.
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
    /// The row exists already; the key that shows this, by its name in the database.
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

    /// Begins a transaction; on a server, with the next statement.
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

    /// Commits everything since [`Self::begin`].
    pub async fn commit(&mut self) -> Result<()> {
        let committed = match self {
            Self::MySql(server) => server.commit().await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => file.execute(sqlx::raw_sql("COMMIT")).await.map(drop),
        };
        committed.map_err(|error| explain("cannot commit", error))
    }

    /// Runs a statement and returns how many rows it changed. A duplicate key is a result, not an error.
    pub async fn run(&mut self, statement: Statement<'_>) -> std::result::Result<u64, Failure> {
        match self {
            Self::MySql(server) => server.run(statement).await.map_err(failure),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => {
                let (sql, values) = statement.marked();
                self.execute(&sql, &values).await
            }
        }
    }

    /// Runs the last statement of a transaction, and commits.
    pub async fn run_and_commit(&mut self, statement: Statement<'_>) -> Result<()> {
        match self {
            Self::MySql(server) => {
                server.run(statement.then(Statement::new("COMMIT"))).await.map_err(failure)?;
                Ok(())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => {
                self.run(statement).await?;
                self.commit().await
            }
        }
    }

    /// All rows that a query returns.
    pub async fn select(&mut self, statement: Statement<'_>) -> Result<Vec<Row>> {
        Ok(self.query(statement).await?)
    }

    /// The same, with a duplicate key as a result; returns the rows of the last of several statements.
    pub(super) async fn query(&mut self, statement: Statement<'_>) -> std::result::Result<Vec<Row>, Failure> {
        match self {
            Self::MySql(server) => {
                let rows = server.select(statement).await.map_err(failure)?;
                Ok(rows.into_iter().map(Row::from).collect())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => {
                let (sql, values) = statement.marked();
                let rows = file.fetch_all(bound(&sql, &values)).await.map_err(failure)?;
                Ok(rows.into_iter().map(Row::from).collect())
            }
        }
    }

    /// The first row that a query returns.
    pub async fn select_one(&mut self, statement: Statement<'_>) -> Result<Option<Row>> {
        Ok(self.select(statement).await?.into_iter().next())
    }

    /// All rows that a query returns, locked until the transaction ends. SQLite has already locked the whole file.
    pub async fn select_locked(&mut self, statement: Statement<'_>) -> Result<Vec<Row>> {
        let statement = if self.is_sqlite() { statement } else { statement.sql(" FOR UPDATE") };
        self.select(statement).await
    }

    /// Runs a statement with bound values, for callers that run it often.
    pub async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> std::result::Result<u64, Failure> {
        let done = match self {
            Self::MySql(server) => server.execute(sql, values).await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => file.execute(bound(sql, values)).await.map(|done| done.rows_affected()),
        };
        done.map_err(failure)
    }

    /// All rows that a query with bound values returns.
    pub async fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        let rows: sqlx::Result<Vec<Row>> = match self {
            Self::MySql(server) => {
                server.rows(sql, values).await.map(|rows| rows.into_iter().map(Row::from).collect())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => {
                let rows = file.fetch_all(bound(sql, values)).await;
                rows.map(|rows| rows.into_iter().map(Row::from).collect())
            }
        };
        rows.map_err(|error| explain("a query failed", error))
    }

    /// The first row that a query with bound values returns.
    pub async fn row(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// All rows that a query with bound values returns, locked until the transaction ends.
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

/// The class of a database failure.
pub fn explain(doing: &str, error: sqlx::Error) -> Error {
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
        Some(number) => {
            let state = error.code().unwrap_or_default();
            let (class, meaning, remedy) = fault::about(number, &state);
            let about = [meaning, remedy]
                .into_iter()
                .filter(|words| !words.is_empty())
                .collect::<Vec<_>>()
                .join("; ");
            let message = if about.is_empty() { doing.to_owned() } else { format!("{doing}: {about}") };
            Error::of(class, message).because(format!("{text} (error {number})"))
        }
        None if text.contains("no such table") || text.contains("no such column") => {
            Error::unavailable(format!("{doing} (run `dispatcher migrate`)")).because(text)
        }
        None if text.contains("unable to open database file") => {
            Error::unavailable(format!("{doing} (run `dispatcher migrate` to make it)")).because(text)
        }
        // Locked, read-only, disk full, and unknown errors.
        None => Error::unavailable(doing).because(text),
    }
}
