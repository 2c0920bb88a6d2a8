//! The database of the flow: MySQL or MariaDB, or an SQLite file, behind one connection.
//!
//! Reads `DATABASE_URL` (`mysql://…`, `sqlite://…`), or `DB_HOST`, `DB_PORT` (3306), `DB_USER`, `DB_PASSWORD`, `DB_NAME`; `DB_TLS`
//! (`disabled`, `preferred`, `required`, `verify-ca`, `verify-identity`) and `DB_CA` (a PEM file).
//! Writes the tables of `migrations/`. All times are UTC.

mod connection;
mod ledger;
mod migration;
mod settings;

pub use connection::{Connection, Failure, Row, Value};
pub use ledger::{Claim, Entry};
pub use migration::{migrate, pending};
pub use settings::Settings;
