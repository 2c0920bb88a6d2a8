//! The schema, compiled in. The dispatcher migrates a database, and workers expect that it is migrated.

use sqlx::Executor;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};

use super::{Connection, schema};
use crate::error::{Error, Result};

/// A folder of SQL files: number, description in the name, and text of each.
type Files = [(i64, &'static str, &'static str)];

const MYSQL: &Files = &[
    (1, "onboarding", include_str!("../../migrations/mysql/0001_onboarding.sql")),
    (2, "history", include_str!("../../migrations/mysql/0002_history.sql")),
    (3, "operator actions", include_str!("../../migrations/mysql/0003_operator_actions.sql")),
    (4, "customer parts", include_str!("../../migrations/mysql/0004_customer_parts.sql")),
    (5, "effects", include_str!("../../migrations/mysql/0005_effects.sql")),
    (6, "history by run", include_str!("../../migrations/mysql/0006_history_by_run.sql")),
    (7, "ended sessions", include_str!("../../migrations/mysql/0007_ended_sessions.sql")),
];
#[cfg(feature = "sqlite")]
const SQLITE: &Files = &[
    (1, "onboarding", include_str!("../../migrations/sqlite/0001_onboarding.sql")),
    (2, "history", include_str!("../../migrations/sqlite/0002_history.sql")),
    (3, "operator actions", include_str!("../../migrations/sqlite/0003_operator_actions.sql")),
    (4, "customer parts", include_str!("../../migrations/sqlite/0004_customer_parts.sql")),
    (5, "effects", include_str!("../../migrations/sqlite/0005_effects.sql")),
    (6, "history by run", include_str!("../../migrations/sqlite/0006_history_by_run.sql")),
    (7, "ended sessions", include_str!("../../migrations/sqlite/0007_ended_sessions.sql")),
];

// Not by sqlx's macro: for it, the compiler would compile the whole database client a second time.
fn migrator(files: &Files) -> Migrator {
    let migration = |&(version, description, sql): &(i64, &'static str, &'static str)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into(), false)
    };
    Migrator { migrations: files.iter().map(migration).collect(), ..Migrator::DEFAULT }
}

/// The result of [`migrate`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// How many migrations were applied.
    pub applied: usize,
    /// The tables whose engine or collation differed from the schema, each with what it had.
    pub repaired: Vec<String>,
}

/// Applies missing migrations, and corrects engine and collation of tables. If several processes call it at once, one
/// of them does the work.
pub async fn migrate(connection: &mut Connection) -> Result<Migrated> {
    let applied = pending(connection).await?;
    match connection {
        Connection::MySql(server) => {
            let cannot =
                |error| super::connection::explain("cannot bring the database schema up to date", error);
            let connection = server.ready().await.map_err(cannot)?;
            connection.execute(sqlx::raw_sql(schema::ENGINE)).await.map_err(cannot)?;
            migrator(MYSQL).run_direct(&mut *connection).await.map_err(failed)?;
            let ours = schema::made_by(MYSQL.iter().map(|(.., sql)| *sql));
            let repaired = schema::repair(connection, &ours).await?;
            Ok(Migrated { applied, repaired })
        }
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(connection) => {
            migrator(SQLITE).run_direct(connection).await.map_err(failed)?;
            Ok(Migrated { applied, repaired: Vec::new() })
        }
    }
}

/// How many migrations are missing.
pub async fn pending(connection: &mut Connection) -> Result<usize> {
    let (known, applied) = match connection {
        Connection::MySql(server) => {
            let cannot = |error| super::connection::explain("cannot read the database schema", error);
            let connection = server.ready().await.map_err(cannot)?;
            connection.execute(sqlx::raw_sql(schema::ENGINE)).await.map_err(cannot)?;
            connection.ensure_migrations_table().await.map_err(failed)?;
            (MYSQL, connection.list_applied_migrations().await.map_err(failed)?)
        }
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(connection) => {
            connection.ensure_migrations_table().await.map_err(failed)?;
            (SQLITE, connection.list_applied_migrations().await.map_err(failed)?)
        }
    };
    Ok(known.iter().filter(|(version, ..)| !applied.iter().any(|done| done.version == *version)).count())
}

fn failed(error: sqlx::migrate::MigrateError) -> Error {
    use sqlx::migrate::MigrateError as Cause;
    let doing = "cannot bring the database schema up to date";
    match error {
        Cause::Execute(error) | Cause::ExecuteMigration(error, _) => super::connection::explain(doing, error),
        Cause::VersionMissing(_) => {
            Error::configuration("the database schema is newer than this program; use a newer version")
                .because(error)
        }
        error => Error::configuration(doing).because(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_migrations_is_one_for_mysql_and_one_for_sqlite() {
        for (folder, files) in [("mysql", MYSQL), ("sqlite", SQLITE)] {
            let path = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let there: BTreeSet<_> = std::fs::read_dir(path)
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            let known: BTreeSet<_> = files
                .iter()
                .map(|(version, description, _)| {
                    format!("{version:04}_{}.sql", description.replace(' ', "_"))
                })
                .collect();
            assert_eq!(known, there, "{folder}");
        }
    }
}
