//! A customer who is there already keeps the name it came with.

use uuid::Uuid;

use crate::database::Connection;
use crate::error::{Error, Result};

/// Refuses an event that gives the id of a known customer to a company of another name: it would take over its users
/// and orders.
pub async fn refuse_takeover(database: &mut Connection, customer: Uuid, name: &str) -> Result<()> {
    let known = database.locked_rows("SELECT name FROM customers WHERE id = ?", &[customer.into()]).await?;
    match known.first() {
        Some(row) if row.text(0)? != name => Err(Error::input(format!(
            "customer {customer} is known under another name than {name:?}; register a new customer under an id of its own"
        ))),
        _ => Ok(()),
    }
}
