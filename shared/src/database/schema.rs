//! Checks and corrects what exactly-once depends on: all tables are transactional and have one collation. A server's
//! defaults, or a restored dump, may have changed them.

use sqlx::mysql::MySqlConnection;
use sqlx::{Executor, Row};

use super::connection::explain;
use crate::error::Result;

/// Set before a migration, so that its tables are transactional whatever the server's default is.
pub(super) const ENGINE: &str = "SET SESSION default_storage_engine = InnoDB";

/// Tables with another engine, and tables with another collation. Only tables of our migrations are checked.
const FOREIGN: &str = "SELECT table_name AS name, COALESCE(engine, '') AS engine, COALESCE(table_collation, '') AS collation \
    FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' \
    AND (engine <> 'InnoDB' OR table_collation <> 'utf8mb4_bin') ORDER BY table_name";

/// Corrects every table of ours with another engine or collation. Returns the changes as text.
pub(super) async fn repair(connection: &mut MySqlConnection, ours: &[&str]) -> Result<Vec<String>> {
    let cannot = |error| explain("cannot check the engine and the collation of the tables", error);
    let rows = connection.fetch_all(sqlx::raw_sql(FOREIGN)).await.map_err(cannot)?;
    let mut repaired = Vec::new();
    for row in rows {
        let text = |column: usize| row.try_get_unchecked::<String, _>(column).map_err(cannot);
        let (name, engine, collation) = (text(0)?, text(1)?, text(2)?);
        if !ours.contains(&name.as_str()) {
            continue;
        }
        let mut change = format!("ALTER TABLE `{name}`");
        let mut was = Vec::new();
        if !engine.eq_ignore_ascii_case("InnoDB") {
            change.push_str(" ENGINE = InnoDB,");
            was.push(format!("engine {engine}"));
        }
        if collation != "utf8mb4_bin" {
            was.push(format!("collation {collation}"));
        }
        change.push_str(" CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
        let doing = format!(
            "cannot make table {name} ({}) one of engine InnoDB and collation utf8mb4_bin",
            was.join(", ")
        );
        connection.execute(sqlx::raw_sql(&change)).await.map_err(|error| explain(&doing, error))?;
        repaired.push(format!("{name}: it had {}", was.join(" and ")));
    }
    Ok(repaired)
}

/// The tables that these migrations create.
pub(super) fn made_by<'a>(sql: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let names = sql.flat_map(|text| text.split("CREATE TABLE ").skip(1));
    let names = names.map(|rest| rest.trim_start_matches("IF NOT EXISTS "));
    names.filter_map(|rest| rest.split(|c: char| c.is_whitespace() || c == '(').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_a_migration_are_known_by_name() {
        let sql = "-- x\nCREATE TABLE customers (\n id INT\n);\nCREATE TABLE IF NOT EXISTS users(id INT);\nCREATE INDEX i ON users (id);";
        assert_eq!(made_by([sql].into_iter()), ["customers", "users"]);
    }
}
