//! The database of the history: a server or an SQLite file, each with two pools of connections.

use std::time::Duration;

use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{Decode, Executor, Type};

use shared::database::{SETUP, Settings};

/// Connections for pages and commands.
const READERS: u32 = 4;

/// Connections for the writer: new runs, runs that wait for a lock, and housekeeping.
const WRITERS: u32 = 3;

/// How long to wait for a connection.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);

/// Set for every connection of the writer, so that it waits only briefly for a lock and no statement takes longer
/// than its limit. MySQL has no such limit for writing statements, and reads the part for MariaDB as a comment.
const WRITER_LIMITS: &str =
    "SET SESSION innodb_lock_wait_timeout = 1 /*M!100100 , max_statement_time = 1.5 */";

/// Without locks on gaps between rows, two dispatchers that add runs do not wait for each other.
const NO_GAP_LOCKS: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// Connections to one kind of database.
#[derive(Clone, Debug)]
pub enum Pool {
    /// MySQL or MariaDB.
    MySql(MySqlPool),
    /// An SQLite file, or memory.
    Sqlite(SqlitePool),
}

/// Separate pools for reading and writing, so that readers never wait for writers.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub(super) read: Pool,
    pub(super) write: Pool,
    /// What errors call this database.
    pub(super) shown: String,
}

impl Database {
    /// Connects at the first use.
    pub(super) fn new(settings: &Settings) -> Self {
        let (read, write) = match settings {
            Settings::MySql(options, _) => {
                let write = limits(MySqlPoolOptions::new(), WRITERS).after_connect(|connection, _| {
                    Box::pin(async move {
                        connection.execute(sqlx::raw_sql(SETUP)).await?;
                        connection.execute(WRITER_LIMITS).await?;
                        connection.execute(NO_GAP_LOCKS).await.map(drop)
                    })
                });
                let read = limits(MySqlPoolOptions::new(), READERS).after_connect(|connection, _| {
                    Box::pin(async move { connection.execute(sqlx::raw_sql(SETUP)).await.map(drop) })
                });
                (
                    Pool::MySql(read.connect_lazy_with((**options).clone())),
                    Pool::MySql(write.connect_lazy_with((**options).clone())),
                )
            }
            Settings::Sqlite(options, _) => {
                let writing = (**options).clone().busy_timeout(Duration::from_secs(1));
                (
                    Pool::Sqlite(
                        limits(SqlitePoolOptions::new(), READERS).connect_lazy_with((**options).clone()),
                    ),
                    Pool::Sqlite(limits(SqlitePoolOptions::new(), 1).connect_lazy_with(writing)),
                )
            }
        };
        Self { read, write, shown: settings.shown().to_owned() }
    }

    /// In memory, where readers wait for writers.
    pub(super) fn in_memory(settings: &Settings) -> Self {
        let database = Self::new(settings);
        Self { read: database.write.clone(), ..database }
    }
}

fn limits<DB: sqlx::Database>(options: PoolOptions<DB>, connections: u32) -> PoolOptions<DB> {
    options.max_connections(connections).acquire_timeout(CONNECTED_WITHIN)
}

/// A borrowed connection. If its work was interrupted it is closed, because its next answer would be unpredictable.
struct Lease<DB: sqlx::Database>(Option<PoolConnection<DB>>);

impl<DB: sqlx::Database> Drop for Lease<DB> {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

/// Does `work` on a connection, within a time limit.
pub async fn within<DB: sqlx::Database, T>(
    pool: &sqlx::Pool<DB>,
    time: Duration,
    work: impl AsyncFnOnce(&mut DB::Connection) -> sqlx::Result<T>,
) -> sqlx::Result<T> {
    let mut lease = Lease(Some(pool.acquire().await?));
    let Some(connection) = lease.0.as_deref_mut() else { return Err(sqlx::Error::WorkerCrashed) };
    let done = tokio::time::timeout(time, work(connection)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    if matches!(done, Ok(_) | Err(sqlx::Error::Database(_))) {
        drop(lease.0.take());
    }
    done
}

/// The time limit of a query in the background.
pub const READ_WITHIN: Duration = Duration::from_secs(30);

/// The time limit of a writing statement, including its wait for a lock. The server's limits for both are below it,
/// and it is below the two seconds after which the history counts as late.
pub const WRITTEN_WITHIN: Duration = Duration::from_millis(1800);

/// Runs the same block for either kind of database.
#[macro_export]
macro_rules! history_either {
    ($pool:expr, $connections:ident, $kind:ident => $work:expr) => {
        match $pool {
            $crate::Pool::MySql($connections) => {
                type $kind = ::sqlx::MySql;
                $work
            }
            $crate::Pool::Sqlite($connections) => {
                type $kind = ::sqlx::Sqlite;
                $work
            }
        }
    };
}

/// All rows of the query that the block builds.
#[macro_export]
macro_rules! history_rows {
    ($pool:expr, $query:ident => $build:expr) => {
        $crate::history_either!($pool, connections, Kind => {
            let mut $query = ::sqlx::QueryBuilder::<Kind>::new("");
            $build;
            let work = async |connection: &mut _| $query.build_query_as().fetch_all(connection).await;
            Box::pin($crate::within(connections, $crate::READ_WITHIN, work)).await
        })
    };
}

/// Runs the statement that the block builds, and returns how many rows it changed. It is never a transaction: a
/// process that hangs could leave one half done, with its locks.
#[macro_export]
macro_rules! history_execute {
    ($pool:expr, $query:ident => $build:expr) => {
        $crate::history_either!($pool, connections, Kind => {
            let mut $query = ::sqlx::QueryBuilder::<Kind>::new("");
            $build;
            let work = async |connection: &mut _| {
                $query.build().persistent(false).execute(connection).await.map(|done| done.rows_affected())
            };
            Box::pin($crate::within(connections, $crate::WRITTEN_WITHIN, work)).await
        })
    };
}

/// `(?, ?)`: these values as a list in the query.
#[macro_export]
macro_rules! history_list {
    ($query:ident, $values:expr) => {
        $query.push("(");
        let mut list = $query.separated(", ");
        for value in $values {
            list.push_bind(value);
        }
        $query.push(")");
    };
}

/// How a row becomes this struct: each field with its column and the type that is read. The derive macro of sqlx
/// would compile the whole client a second time.
#[macro_export]
macro_rules! history_row {
    ($name:ident { $($field:ident: $kind:ty = $column:literal),* $(,)? }) => {
        impl<'r, R> ::sqlx::FromRow<'r, R> for $name
        where
            R: ::sqlx::Row,
            for<'a> &'a str: ::sqlx::ColumnIndex<R>,
            $($kind: ::sqlx::Decode<'r, R::Database> + ::sqlx::Type<R::Database>,)*
        {
            fn from_row(row: &'r R) -> ::sqlx::Result<Self> {
                Ok(Self { $($field: $crate::column::<R, $kind, _>(row, $column)?,)* })
            }
        }
    };
}

/// A column that is read as one type and converted to another.
pub fn column<'r, R, T, U>(row: &'r R, name: &str) -> sqlx::Result<U>
where
    R: sqlx::Row,
    for<'a> &'a str: sqlx::ColumnIndex<R>,
    T: Decode<'r, R::Database> + Type<R::Database> + TryInto<U, Error: std::fmt::Display>,
{
    row.try_get::<T, _>(name)?.try_into().map_err(|error| sqlx::Error::ColumnDecode {
        index: name.to_owned(),
        source: error.to_string().into(),
    })
}

pub use {history_execute as execute, history_list as list, history_row as row, history_rows as rows};

/// A text column with a binary collation, which MySQL reports as bytes.
#[derive(Debug)]
pub struct Text(pub String);

/// The same, or `None` for NULL.
#[derive(Debug)]
pub struct MaybeText(pub Option<String>);

impl<DB: sqlx::Database> Type<DB> for Text
where
    String: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        String::type_info()
    }

    fn compatible(_: &DB::TypeInfo) -> bool {
        true
    }
}

impl<DB: sqlx::Database> Type<DB> for MaybeText
where
    String: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        String::type_info()
    }

    fn compatible(_: &DB::TypeInfo) -> bool {
        true
    }
}

impl<'r, DB: sqlx::Database> Decode<'r, DB> for Text
where
    String: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        String::decode(value).map(Self)
    }
}

impl<'r, DB: sqlx::Database> Decode<'r, DB> for MaybeText
where
    Option<String>: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        Option::decode(value).map(Self)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl From<MaybeText> for Option<String> {
    fn from(text: MaybeText) -> Self {
        text.0
    }
}

/// What a failed statement means for the runs that it should have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A value is wrong: this run can never be written.
    Refused,
    /// Another connection holds a lock on a row.
    Locked,
    /// Everything else, such as a full disk or a server that is away or read-only: no run can be written now.
    Database,
}

impl Trouble {
    /// By the number of the error. Unknown errors are taken as the database's fault, not as that of a value.
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let Some(error) = error.as_database_error() else { return Self::Database };
        match error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            Some(server) => Self::of_server(server.number()),
            None => match error.code().and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
                // TOOBIG, CONSTRAINT, MISMATCH.
                Some(18..=20) => Self::Refused,
                _ => Self::Database,
            },
        }
    }

    const fn of_server(number: u16) -> Self {
        match number {
            // Null, out of range, truncated, wrong value or text, too long, a check, a trigger that refuses.
            1048 | 1264 | 1265 | 1292 | 1366 | 1367 | 1406 | 1411 | 1644 | 3819 | 4025 => Self::Refused,
            // Lock wait, deadlock, statement time of MySQL and MariaDB.
            1205 | 1213 | 1969 | 3024 => Self::Locked,
            _ => Self::Database,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Trouble::{self, Database, Locked, Refused};

    #[test]
    fn what_an_error_means_is_decided_by_its_number() {
        for (numbers, means) in [
            // Full table or disk, read-only, away, too many connections, no such table or column, and unknown errors.
            (&[1114, 1021, 1290, 1836, 1053, 1040, 1146, 1054, 1, 65_535][..], Database),
            (&[1205, 1213, 1969, 3024], Locked),
            (&[1406, 1366, 1264, 1048, 4025, 1644], Refused),
        ] {
            for number in numbers {
                assert_eq!(Trouble::of_server(*number), means, "{number}");
            }
        }
    }
}
