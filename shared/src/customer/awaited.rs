//! Users that are registered and whose save-user run is awaited.

use uuid::Uuid;

use super::{User, user_id};
use crate::database::{Connection, Failure};
use crate::error::{Error, Result};

/// Records a user as awaited; one of this customer that is there already stays as it is. An address of another
/// customer's user is refused.
pub async fn await_user(database: &mut Connection, customer: Uuid, user: &User) -> Result<()> {
    let inserted = database
        .execute(
            "INSERT INTO users (id, customer_id, name, email, role) VALUES (?, ?, ?, ?, ?)",
            &[
                user_id(customer, &user.email).into(),
                customer.into(),
                user.name.as_str().into(),
                user.email.as_str().into(),
                user.role.as_str().into(),
            ],
        )
        .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(Failure::Other(error)) => Err(error),
        Err(Failure::Duplicate(_)) => refuse_taken_email(database, customer, &user.email).await,
    }
}

async fn refuse_taken_email(database: &mut Connection, customer: Uuid, email: &str) -> Result<()> {
    let owner = database.row("SELECT customer_id FROM users WHERE email = ?", &[email.into()]).await?;
    match owner {
        Some(row) if row.id(0)? != customer => Err(taken_email(email)),
        _ => Ok(()),
    }
}

/// The address belongs to another customer's user.
pub fn taken_email(email: &str) -> Error {
    Error::input(format!("{email} belongs to a user of another customer; addresses are unique"))
}
