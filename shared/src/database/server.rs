//! A connection to MySQL or MariaDB. A worker's [`Statement`]s make as few round trips as possible: nothing is
//! prepared, and a transaction begins and ends together with a statement that is sent anyway.

use sqlx::mysql::MySqlRow;
use sqlx::{Executor, MySqlConnection};

use super::statement::Statement;
use super::value::{Value, bound};

/// Each statement has its own snapshot (no gap locks), and a second run of the same event waits only this long for
/// the first.
const BEGIN: &str = "SET innodb_lock_wait_timeout = 20; \
                     SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION";

/// The first statement of a connection. It makes us independent of the settings that a server, or a proxy before it,
/// has for others: character set, SQL mode, time zone, and autocommit. The character set of the handshake is not
/// enough, because a server may ignore it. If the connection still has another one afterwards, the subquery has two
/// rows and fails.
pub const SETUP: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_bin; \
                     SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION autocommit = 1, \
                     SESSION time_zone = '+00:00'; \
                     SET @utf8mb4 = (SELECT 1 UNION SELECT IF(@@character_set_client = 'utf8mb4' \
                     AND @@character_set_connection = 'utf8mb4' AND @@character_set_results = 'utf8mb4', 1, 2))";

/// A connection.
pub struct Server {
    connection: MySqlConnection,
    /// Whether the next statement is the first of the connection.
    is_new: bool,
    /// Whether the next statement is the first of a transaction.
    begins: bool,
}

impl Server {
    pub(super) const fn new(connection: MySqlConnection) -> Self {
        Self { connection, is_new: true, begins: false }
    }

    /// A transaction begins with the next statement.
    pub(super) const fn begin(&mut self) {
        self.begins = true;
    }

    /// The statements that begin a transaction.
    pub(super) fn beginning<'a>() -> Statement<'a> {
        Statement::new(BEGIN)
    }

    /// Commits everything since [`Self::begin`].
    pub(super) async fn commit(&mut self) -> sqlx::Result<()> {
        if std::mem::take(&mut self.begins) {
            return Ok(());
        }
        self.connection.execute(sqlx::raw_sql("COMMIT")).await.map(drop)
    }

    /// Runs a statement and returns how many rows it changed.
    pub(super) async fn run(&mut self, statement: Statement<'_>) -> sqlx::Result<u64> {
        let text = self.text(statement);
        self.connection.execute(sqlx::raw_sql(&text)).await.map(|done| done.rows_affected())
    }

    /// All rows that a query returns.
    pub(super) async fn select(&mut self, statement: Statement<'_>) -> sqlx::Result<Vec<MySqlRow>> {
        let text = self.text(statement);
        self.connection.fetch_all(sqlx::raw_sql(&text)).await
    }

    fn text(&mut self, statement: Statement<'_>) -> String {
        let begins = std::mem::take(&mut self.begins);
        let statement = if begins { Self::beginning().then(statement) } else { statement };
        let is_new = std::mem::take(&mut self.is_new);
        if is_new { Statement::new(SETUP).then(statement).literal() } else { statement.literal() }
    }

    /// The connection itself, after its setup.
    pub(super) async fn ready(&mut self) -> sqlx::Result<&mut MySqlConnection> {
        if std::mem::take(&mut self.is_new) {
            Box::pin(self.connection.execute(sqlx::raw_sql(SETUP))).await?;
        }
        Ok(&mut self.connection)
    }

    /// Runs a statement with bound values and returns how many rows it changed.
    pub(super) async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> sqlx::Result<u64> {
        self.begin_now().await?;
        let done = if values.is_empty() {
            self.connection.execute(sqlx::raw_sql(sql)).await
        } else {
            self.connection.execute(bound(sql, values)).await
        };
        done.map(|done| done.rows_affected())
    }

    /// All rows that a query with bound values returns.
    pub(super) async fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> sqlx::Result<Vec<MySqlRow>> {
        self.begin_now().await?;
        self.connection.fetch_all(bound(sql, values)).await
    }

    async fn begin_now(&mut self) -> sqlx::Result<()> {
        let begins = std::mem::take(&mut self.begins);
        let connection = self.ready().await?;
        if begins {
            connection.execute(sqlx::raw_sql(BEGIN)).await?;
        }
        Ok(())
    }
}
