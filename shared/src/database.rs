//! The database of the flow: MySQL or MariaDB, or an SQLite file, behind one connection.
//! Files need the feature `sqlite`, which is on by default.
//!
//! Reads `DATABASE_URL` (`mysql://…`, `sqlite://…`), or `DB_HOST`, `DB_PORT` (3306), `DB_USER`, `DB_PASSWORD`, `DB_NAME`; `DB_TLS`
//! (`disabled`, `preferred`, `required`, `verify-ca`, `verify-identity`) and `DB_CA` (a PEM file).
//! Writes the tables of `migrations/`. All times are UTC.

mod connection;
mod ledger;
mod literal;
mod migration;
mod row;
mod server;
mod settings;
mod value;

pub use connection::{Connection, Failure};
pub use ledger::{Claim, Entry};
pub use migration::{migrate, pending};
pub use row::Row;
pub use server::Server;
pub use settings::Settings;
pub use value::{Value, marks, rows};
