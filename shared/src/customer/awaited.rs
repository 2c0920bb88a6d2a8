//! Users that are registered and not saved yet.

use uuid::Uuid;

use super::{User, user_id};
use crate::database::{Connection, Failure, Statement};
use crate::error::{Error, Result};

/// The most users that one statement records.
const AT_ONCE: usize = 100;

/// Records users as awaited. An existing user of this customer stays unchanged. If an address belongs to another
/// customer's user, the registration is refused.
pub async fn await_users(database: &mut Connection, customer: Uuid, users: &[User]) -> Result<()> {
    for group in users.chunks(AT_ONCE) {
        match insert(database, customer, group).await {
            Ok(()) => {}
            Err(Failure::Other(error)) => return Err(error),
            // Some exist already; one by one shows which.
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

/// Inserts all, or none if one exists already.
async fn insert(
    database: &mut Connection,
    customer: Uuid,
    users: &[User],
) -> std::result::Result<(), Failure> {
    let rows = users.iter().map(|user| {
        [
            user_id(customer, &user.email).into(),
            customer.into(),
            (&*user.name).into(),
            user.email.as_str().into(),
            user.role.as_str().into(),
        ]
    });
    let insert = Statement::new("INSERT INTO users (id, customer_id, name, email, role) VALUES ").rows(rows);
    database.run(insert).await.map(drop)
}

async fn refuse_taken_email(database: &mut Connection, customer: Uuid, email: &str) -> Result<()> {
    let owner = Statement::new("SELECT customer_id FROM users WHERE email = ").value(email);
    match database.select_one(owner).await? {
        Some(row) if row.id(0)? != customer => Err(taken_email(email)),
        _ => Ok(()),
    }
}

/// The address belongs to another customer's user.
pub fn taken_email(email: &str) -> Error {
    Error::input(format!("{email} belongs to a user of another customer; addresses are unique"))
}
