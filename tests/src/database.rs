//! The database of one test, on MariaDB or in an SQLite file, without the product's code.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Column, ConnectOptions, Executor, MySqlConnection, Row, SqliteConnection};

use crate::program::Program;
use crate::scratch::Scratch;
use crate::{Setting, block_on, settings, wait};

/// A database of one test.
#[derive(Debug)]
pub struct Database {
    location: Location,
}

#[derive(Debug)]
enum Location {
    MariaDb { port: u16, user: &'static str, password: &'static str, name: String },
    Sqlite(Scratch),
}

/// A row as text by column name; an SQL NULL is absent.
pub type TextRow = BTreeMap<String, String>;

impl Database {
    pub(crate) fn mariadb(port: u16, user: &'static str, password: &'static str, name: String) -> Self {
        Self { location: Location::MariaDb { port, user, password, name } }
    }

    /// A database file in a directory of its own.
    pub fn sqlite() -> Self {
        Self { location: Location::Sqlite(Scratch::new("sqlite")) }
    }

    /// The same database with the product's tables in it.
    #[must_use]
    pub fn migrated(self) -> Self {
        Program::dispatcher().argument("migrate").settings(self.settings()).run_to(0);
        self
    }

    /// The same database as an earlier version left it: migrated up to this version.
    #[must_use]
    pub fn migrated_to(self, version: i64) -> Self {
        let kind = match self.location {
            Location::MariaDb { .. } => "mysql",
            Location::Sqlite(_) => "sqlite",
        };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/migrations").join(kind);
        block_on(async {
            let mut migrator = sqlx::migrate::Migrator::new(folder).await?;
            migrator.migrations.to_mut().retain(|one| one.version <= version);
            match self.location {
                Location::MariaDb { .. } => migrator.run_direct(&mut self.mysql().await?).await,
                Location::Sqlite(_) => migrator.run_direct(&mut self.file().await?).await,
            }
        })
        .unwrap_or_else(|error| panic!("migrations up to {version}: {error}"));
        self
    }

    /// What a worker or dispatcher needs to reach it.
    pub fn settings(&self) -> Vec<Setting> {
        match &self.location {
            Location::MariaDb { port, .. } => self.settings_through(*port),
            Location::Sqlite(scratch) => {
                settings([("DATABASE_URL", &format!("sqlite://{}", scratch.join("onboarding.db").display()))])
            }
        }
    }

    /// The same with another port: that of a proxy before the server.
    pub fn settings_through(&self, port: u16) -> Vec<Setting> {
        let Location::MariaDb { user, password, name, .. } = &self.location else {
            panic!("SQLite has no port")
        };
        settings([
            ("DB_HOST", "127.0.0.1"),
            ("DB_PORT", &port.to_string()),
            ("DB_USER", user),
            ("DB_PASSWORD", password),
            ("DB_NAME", name),
        ])
    }

    /// The rows of a query, each value as text.
    pub fn rows(&self, query: &str) -> Vec<TextRow> {
        self.try_rows(query).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The same, if the server may be away.
    pub fn try_rows(&self, query: &str) -> Result<Vec<TextRow>, sqlx::Error> {
        block_on(async {
            match &self.location {
                Location::MariaDb { .. } => {
                    let rows = self.mysql().await?.fetch_all(sqlx::raw_sql(query)).await?;
                    Ok::<_, sqlx::Error>(rows.iter().map(text_row).collect())
                }
                Location::Sqlite(_) => {
                    let rows = self.file().await?.fetch_all(sqlx::raw_sql(query)).await?;
                    Ok(rows.iter().map(text_row).collect())
                }
            }
        })
    }

    /// The number of rows in a table, or of those that a `WHERE` after its name selects.
    pub fn count(&self, table: &str) -> usize {
        self.text(&format!("SELECT COUNT(*) AS n FROM {table}")).parse().expect("a count")
    }

    /// The first value of the first row as text; empty if there is none.
    pub fn text(&self, query: &str) -> String {
        self.rows(query).into_iter().next().and_then(|row| row.into_values().next()).unwrap_or_default()
    }

    /// Runs a statement.
    pub fn execute(&self, statement: &str) {
        self.rows(statement);
    }

    /// Waits until a `COUNT(*)` over the table reaches the number.
    pub fn until_count(&self, table: &str, number: usize) {
        wait::until_true(&format!("{number} rows are in {table}"), || self.count(table) >= number);
    }

    /// Runs statements on a connection that stays open, so that their locks are held until it is dropped.
    pub fn hold(&self, statements: &str) -> Held {
        self.holding(statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// The same, if the server may refuse it.
    pub fn try_hold(&self, statements: &str) -> Option<Held> {
        self.holding(statements).ok()
    }

    fn holding(&self, statements: &str) -> Result<Held, sqlx::Error> {
        block_on(async {
            match &self.location {
                Location::MariaDb { .. } => {
                    let mut connection = self.mysql().await?;
                    connection.execute(sqlx::raw_sql(statements)).await?;
                    Ok(Held { _connection: HeldConnection::MariaDb(connection) })
                }
                Location::Sqlite(_) => {
                    let mut connection = self.file().await?;
                    connection.execute(sqlx::raw_sql(statements)).await?;
                    Ok(Held { _connection: HeldConnection::Sqlite(connection) })
                }
            }
        })
    }

    async fn mysql(&self) -> Result<MySqlConnection, sqlx::Error> {
        let Location::MariaDb { port, user, password, name } = &self.location else {
            unreachable!("asked by its match")
        };
        let options =
            MySqlConnectOptions::new().host("127.0.0.1").port(*port).username(user).password(password);
        options.database(name).ssl_mode(MySqlSslMode::Disabled).connect().await
    }

    async fn file(&self) -> Result<SqliteConnection, sqlx::Error> {
        let Location::Sqlite(scratch) = &self.location else { unreachable!("asked by its match") };
        let options =
            SqliteConnectOptions::new().filename(scratch.join("onboarding.db")).create_if_missing(true);
        options.busy_timeout(Duration::from_secs(30)).connect().await
    }
}

/// An open connection with its locks; closed on drop.
#[derive(Debug)]
pub struct Held {
    _connection: HeldConnection,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held only for its drop")]
enum HeldConnection {
    MariaDb(MySqlConnection),
    Sqlite(SqliteConnection),
}

fn text_row<R: Row>(row: &R) -> TextRow
where
    usize: sqlx::ColumnIndex<R>,
    for<'r> Option<String>: sqlx::Decode<'r, R::Database>,
{
    let columns = row.columns().iter();
    columns
        .filter_map(|column| {
            // The text protocol returns every type as text, whatever the declared type is.
            let value: Option<String> = row.try_get_unchecked(column.ordinal()).expect("text");
            Some((column.name().to_owned(), value?))
        })
        .collect()
}
