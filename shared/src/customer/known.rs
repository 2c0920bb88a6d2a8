//! What the database has about a customer: its name, which never changes, and its users.

use uuid::Uuid;

use super::{Name, User};
use crate::address::Address;
use crate::config::FromText;
use crate::database::{Connection, Statement};
use crate::error::{Error, Result};

/// Refuses an event that gives the id of a known customer to a company with another name, because that company would
/// take over its users and orders.
pub async fn refuse_takeover(database: &mut Connection, customer: Uuid, name: &str) -> Result<()> {
    let known = Statement::new("SELECT name FROM customers WHERE id = ").value(customer);
    let known = database.select_locked(known).await?;
    match known.first() {
        Some(row) if row.text(0)? != name => Err(Error::input(format!(
            "customer {customer} is known under another name; register a new customer under an id of its own"
        ))),
        _ => Ok(()),
    }
}

/// The customer's users with their ids, sorted by address, and locked until the transaction ends.
pub async fn known_users(database: &mut Connection, customer: Uuid) -> Result<Vec<(Uuid, User)>> {
    let users =
        Statement::new("SELECT id, name, email, role FROM users WHERE customer_id = ").value(customer);
    let users = database.select_locked(users.sql(" ORDER BY email")).await?;
    let of = |wrong: String| Error::bug(format!("the name of a user {wrong}"));
    users
        .iter()
        .map(|row| {
            let name = Name::from_text(&row.text(1)?).map_err(of)?;
            Ok((row.id(0)?, User { name, email: Address::stored(row.text(2)?), role: row.text(3)?.parse()? }))
        })
        .collect()
}
