//! The database of the flow: MySQL, MariaDB or an SQLite file, behind one type of connection.
//! Files need the feature `sqlite`, which is on by default.
//!
//! Reads `DATABASE_URL` (`mysql://…`, `sqlite://…`), or `DB_HOST`, `DB_PORT` (3306), `DB_USER`, `DB_PASSWORD`, `DB_NAME`; `DB_TLS`
//! (`disabled`, `preferred`, `required`, `verify-ca`, `verify-identity`) and `DB_CA` (a PEM file).
//! Writes the tables of `migrations/`. All times are UTC.

mod address;
mod connection;
mod fault;
mod ledger;
mod migration;
mod row;
mod schema;
mod server;
mod settings;
mod statement;
mod value;

pub use connection::{Connection, Failure, explain};
pub use fault::rows as faults;
pub use ledger::{Claim, Entry, Receipts};
pub use migration::{Migrated, migrate, pending};
pub use row::Row;
pub use server::{SETUP, Server};
pub use settings::Settings;
pub use statement::Statement;
pub use value::{Value, marks, rows};
