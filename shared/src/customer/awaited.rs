//! Users that are registered and whose save-user run is awaited.

use uuid::Uuid;

use super::{User, user_id};
use crate::database::{Connection, Failure, Value, rows};
use crate::error::{Error, Result};

/// Users that are recorded by one statement, at most.
const AT_ONCE: usize = 100;

/// Records users as awaited; one of this customer that is there already stays as it is. An address of another customer's
/// user is refused.
pub async fn await_users(database: &mut Connection, customer: Uuid, users: &[User]) -> Result<()> {
    for group in users.chunks(AT_ONCE) {
        match insert(database, customer, group).await {
            Ok(()) => {}
            Err(Failure::Other(error)) => return Err(error),
            // Somebody is there already: one by one tells who.
            Err(Failure::Duplicate(_)) => {
                for user in group {
                    await_user(database, customer, user).await?;
                }
            }
        }
    }
    Ok(())
}

async fn await_user(database: &mut Connection, customer: Uuid, user: &User) -> Result<()> {
    match insert(database, customer, std::slice::from_ref(user)).await {
        Ok(()) => Ok(()),
        Err(Failure::Other(error)) => Err(error),
        Err(Failure::Duplicate(_)) => refuse_taken_email(database, customer, &user.email).await,
    }
}

/// All or, where one is there already, none.
async fn insert(
    database: &mut Connection,
    customer: Uuid,
    users: &[User],
) -> std::result::Result<(), Failure> {
    let sql =
        format!("INSERT INTO users (id, customer_id, name, email, role) VALUES {}", rows(users.len(), 5));
    let mut values: Vec<Value<'_>> = Vec::with_capacity(5 * users.len());
    for user in users {
        values.extend([
            user_id(customer, &user.email).into(),
            customer.into(),
            user.name.as_str().into(),
            user.email.as_str().into(),
            user.role.as_str().into(),
        ]);
    }
    database.execute(&sql, &values).await.map(drop)
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
