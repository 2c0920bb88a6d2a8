//! A connection to MySQL or MariaDB that makes as few round trips as it can: nothing is prepared, and a transaction begins and ends
//! with a statement that is sent anyway.

use sqlx::mysql::MySqlRow;
use sqlx::{Executor, MySqlConnection};

use super::literal::filled;
use super::value::Value;
use crate::error::Result;

/// A transaction's snapshot is each statement's own (no gap locks), and a twin waits for the first run only so long.
const BEGIN: &str = "SET innodb_lock_wait_timeout = 20; \
                     SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION; ";

/// A connection.
pub struct Server {
    pub(super) connection: MySqlConnection,
    /// The next statement is the first of a transaction.
    begins: bool,
}

impl Server {
    pub(super) const fn new(connection: MySqlConnection) -> Self {
        Self { connection, begins: false }
    }

    /// A transaction begins with the next statement.
    pub(super) const fn begin(&mut self) {
        self.begins = true;
    }

    /// Makes everything since [`Self::begin`] final.
    pub(super) async fn commit(&mut self) -> sqlx::Result<()> {
        if std::mem::take(&mut self.begins) {
            return Ok(());
        }
        self.connection.execute(sqlx::raw_sql("COMMIT")).await.map(drop)
    }

    /// What is sent for a statement; `then` follows it if it does not fail.
    pub(super) fn text(&mut self, sql: &str, values: &[Value<'_>], then: &str) -> Result<String> {
        let sql = filled(sql, values)?;
        let begin = if std::mem::take(&mut self.begins) { BEGIN } else { "" };
        Ok([begin, &sql, then].concat())
    }

    /// Runs a statement, and answers how many rows it changed.
    pub(super) async fn execute(&mut self, text: &str) -> sqlx::Result<u64> {
        self.connection.execute(sqlx::raw_sql(text)).await.map(|done| done.rows_affected())
    }

    /// All rows of a query.
    pub(super) async fn rows(&mut self, text: &str) -> sqlx::Result<Vec<MySqlRow>> {
        self.connection.fetch_all(sqlx::raw_sql(text)).await
    }
}
