//! The rows that a query returns, from either kind of database.

use chrono::{DateTime, NaiveDateTime, Utc};
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;
#[cfg(feature = "sqlite")]
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::{Error, Result};

/// A row; columns are read by position.
pub enum Row {
    /// Of a server.
    MySql(MySqlRow),
    /// Of a file.
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteRow),
}

impl From<MySqlRow> for Row {
    fn from(row: MySqlRow) -> Self {
        Self::MySql(row)
    }
}

#[cfg(feature = "sqlite")]
impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

/// The same call on either kind.
macro_rules! either {
    ($this:expr, $inner:ident => $call:expr) => {
        match $this {
            Self::MySql($inner) => $call,
            #[cfg(feature = "sqlite")]
            Self::Sqlite($inner) => $call,
        }
    };
}

// Unchecked, because MySQL reports a text with a binary collation as bytes, and SQLite has no type for times.
impl Row {
    /// A text or null.
    pub fn optional_text(&self, column: usize) -> Result<Option<String>> {
        either!(self, row => row.try_get_unchecked(column)).map_err(|error| of_another_type(column, error))
    }

    /// A text.
    pub fn text(&self, column: usize) -> Result<String> {
        self.optional_text(column)?.ok_or_else(|| null(column))
    }

    /// A whole number or null.
    pub fn optional_integer(&self, column: usize) -> Result<Option<i64>> {
        either!(self, row => row.try_get_unchecked(column)).map_err(|error| of_another_type(column, error))
    }

    /// A whole number.
    pub fn integer(&self, column: usize) -> Result<i64> {
        self.optional_integer(column)?.ok_or_else(|| null(column))
    }

    /// A time or null, UTC.
    pub fn optional_time(&self, column: usize) -> Result<Option<DateTime<Utc>>> {
        let time: Option<NaiveDateTime> = either!(self, row => row.try_get_unchecked(column))
            .map_err(|error| of_another_type(column, error))?;
        Ok(time.map(|time| time.and_utc()))
    }

    /// A time, UTC.
    pub fn time(&self, column: usize) -> Result<DateTime<Utc>> {
        self.optional_time(column)?.ok_or_else(|| null(column))
    }

    /// An id.
    pub fn id(&self, column: usize) -> Result<Uuid> {
        let text = self.text(column)?;
        Uuid::try_parse(&text).map_err(|error| Error::bug(format!("column {column} is no id")).because(error))
    }
}

fn of_another_type(column: usize, error: sqlx::Error) -> Error {
    Error::bug(format!("column {column} is not of its type")).because(error)
}

fn null(column: usize) -> Error {
    Error::bug(format!("column {column} is null"))
}
