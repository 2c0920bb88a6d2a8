//! One connection to either kind of database, with the few calls the steps need.
//!
//! A worker runs one transaction on one connection, so there is no pool; a connection dropped before
//! [`Connection::commit`] takes its transaction back.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Decode, Executor, MySql, MySqlConnection, Row as _, Sqlite, SqliteConnection, Type};
use uuid::Uuid;

use crate::error::{Error, Result};

/// A transaction's snapshot is each statement's own (no gap locks), and a twin waits for the first run only so long.
const MYSQL_BEGIN: &str = "SET innodb_lock_wait_timeout = 20; \
                           SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION";

/// A connection.
pub enum Connection {
    /// MySQL or MariaDB.
    MySql(MySqlConnection),
    /// An SQLite file.
    Sqlite(SqliteConnection),
}

/// A value to bind.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// A time, UTC.
    Time(DateTime<Utc>),
    /// A day.
    Date(NaiveDate),
    /// Nothing.
    Null,
}

/// Why a statement failed.
#[derive(Debug)]
pub enum Failure {
    /// The row is there already; the key that says so, as the database names it.
    Duplicate(String),
    /// Everything else.
    Other(Error),
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
        matches!(self, Self::Sqlite(_))
    }

    /// Begins a transaction.
    pub async fn begin(&mut self) -> Result<()> {
        let begun = match self {
            Self::MySql(connection) => connection.execute(sqlx::raw_sql(MYSQL_BEGIN)).await.map(drop),
            Self::Sqlite(connection) => connection.execute(sqlx::raw_sql("BEGIN IMMEDIATE")).await.map(drop),
        };
        begun.map_err(|error| explain("cannot begin a transaction", error))
    }

    /// Makes everything since [`Self::begin`] final.
    pub async fn commit(&mut self) -> Result<()> {
        let committed = match self {
            Self::MySql(connection) => connection.execute(sqlx::raw_sql("COMMIT")).await.map(drop),
            Self::Sqlite(connection) => connection.execute(sqlx::raw_sql("COMMIT")).await.map(drop),
        };
        committed.map_err(|error| explain("cannot commit", error))
    }

    /// Runs a statement; answers how many rows it changed. A duplicate key is an answer, not an error.
    pub async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> std::result::Result<u64, Failure> {
        let done = match self {
            Self::MySql(connection) => {
                connection.execute(bound_mysql(sql, values)).await.map(|d| d.rows_affected())
            }
            Self::Sqlite(connection) => {
                connection.execute(bound_sqlite(sql, values)).await.map(|d| d.rows_affected())
            }
        };
        done.map_err(|error| match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => {
                Failure::Duplicate(database.message().to_owned())
            }
            _ => Failure::Other(explain("a statement failed", error)),
        })
    }

    /// All rows of a query.
    pub async fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        let rows = match self {
            Self::MySql(connection) => connection
                .fetch_all(bound_mysql(sql, values))
                .await
                .map(|rows| rows.into_iter().map(Row::MySql).collect()),
            Self::Sqlite(connection) => connection
                .fetch_all(bound_sqlite(sql, values))
                .await
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect()),
        };
        rows.map_err(|error| explain("a query failed", error))
    }

    /// The first row of a query.
    pub async fn row(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>> {
        let row = match self {
            Self::MySql(connection) => {
                connection.fetch_optional(bound_mysql(sql, values)).await.map(|row| row.map(Row::MySql))
            }
            Self::Sqlite(connection) => {
                connection.fetch_optional(bound_sqlite(sql, values)).await.map(|row| row.map(Row::Sqlite))
            }
        };
        row.map_err(|error| explain("a query failed", error))
    }

    /// All rows of a query, locked until the transaction ends. SQLite has locked the whole file already.
    pub async fn locked_rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        match self {
            Self::MySql(_) => self.rows(&format!("{sql} FOR UPDATE"), values).await,
            Self::Sqlite(_) => self.rows(sql, values).await,
        }
    }
}

macro_rules! bound {
    ($name:ident, $database:ty, $arguments:ty) => {
        fn $name<'q>(sql: &'q str, values: &'q [Value<'q>]) -> Query<'q, $database, $arguments> {
            values.iter().fold(sqlx::query(sql), |query, value| match value {
                Value::Text(text) => query.bind(text.as_ref()),
                Value::Integer(number) => query.bind(*number),
                Value::Time(time) => query.bind(time.naive_utc()),
                Value::Date(date) => query.bind(*date),
                Value::Null => query.bind(None::<&str>),
            })
        }
    };
}
bound!(bound_mysql, MySql, MySqlArguments);
bound!(bound_sqlite, Sqlite, SqliteArguments<'q>);

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Uuid> for Value<'_> {
    fn from(id: Uuid) -> Self {
        Self::Text(id.to_string().into())
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<DateTime<Utc>> for Value<'_> {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Time(time)
    }
}

impl From<NaiveDate> for Value<'_> {
    fn from(date: NaiveDate) -> Self {
        Self::Date(date)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row of a query; columns are read by position.
pub enum Row {
    /// Of a server.
    MySql(MySqlRow),
    /// Of a file.
    Sqlite(SqliteRow),
}

impl Row {
    /// A column that may be null.
    fn get<T>(&self, column: usize) -> Result<Option<T>>
    where
        T: for<'r> Decode<'r, MySql> + Type<MySql> + for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
    {
        // Unchecked: a binary collation makes MySQL call its texts bytes, and SQLite has no time type.
        let value = match self {
            Self::MySql(row) => row.try_get_unchecked::<Option<T>, _>(column),
            Self::Sqlite(row) => row.try_get_unchecked::<Option<T>, _>(column),
        };
        value.map_err(|error| Error::bug(format!("column {column} is not of its type")).because(error))
    }

    fn filled<T>(&self, column: usize) -> Result<T>
    where
        T: for<'r> Decode<'r, MySql> + Type<MySql> + for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
    {
        self.get(column)?.ok_or_else(|| Error::bug(format!("column {column} is null")))
    }

    /// A text.
    pub fn text(&self, column: usize) -> Result<String> {
        self.filled(column)
    }

    /// A text or null.
    pub fn optional_text(&self, column: usize) -> Result<Option<String>> {
        self.get(column)
    }

    /// A whole number.
    pub fn integer(&self, column: usize) -> Result<i64> {
        self.filled(column)
    }

    /// A time, UTC.
    pub fn time(&self, column: usize) -> Result<DateTime<Utc>> {
        self.filled::<NaiveDateTime>(column).map(|time| time.and_utc())
    }

    /// A time or null.
    pub fn optional_time(&self, column: usize) -> Result<Option<DateTime<Utc>>> {
        self.get::<NaiveDateTime>(column).map(|time| time.map(|time| time.and_utc()))
    }

    /// An id.
    pub fn id(&self, column: usize) -> Result<Uuid> {
        let text = self.text(column)?;
        Uuid::try_parse(&text).map_err(|error| Error::bug(format!("column {column} is no id")).because(error))
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
