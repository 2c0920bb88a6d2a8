//! The schema, compiled in: the dispatcher brings a database up to date, workers expect that it is.

use sqlx::migrate::{Migrate, Migrator};

use super::Connection;
use crate::error::{Error, Result};

static MYSQL: Migrator = sqlx::migrate!("migrations/mysql");
#[cfg(feature = "sqlite")]
static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

/// Applies what is missing; answers how many migrations that were. Several may call it at once: one does it.
pub async fn migrate(connection: &mut Connection) -> Result<usize> {
    let missing = pending(connection).await?;
    let done = match connection {
        Connection::MySql(server) => MYSQL.run_direct(&mut server.connection).await,
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(connection) => SQLITE.run_direct(connection).await,
    };
    done.map_err(failed)?;
    Ok(missing)
}

/// How many migrations are missing.
pub async fn pending(connection: &mut Connection) -> Result<usize> {
    let (known, applied) = match connection {
        Connection::MySql(server) => {
            let connection = &mut server.connection;
            connection.ensure_migrations_table().await.map_err(failed)?;
            (&MYSQL, connection.list_applied_migrations().await.map_err(failed)?)
        }
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(connection) => {
            connection.ensure_migrations_table().await.map_err(failed)?;
            (&SQLITE, connection.list_applied_migrations().await.map_err(failed)?)
        }
    };
    Ok(known.iter().filter(|one| !applied.iter().any(|done| done.version == one.version)).count())
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
