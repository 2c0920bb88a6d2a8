//! The rows of a user, and of the customer that may be welcomed.

use chrono::Utc;
use shared::customer::{self, Role, User};
use shared::database::{Connection, Failure, Statement, Value};
use shared::{Result, Uuid};

/// A welcome that is due.
pub(crate) struct Welcome {
    pub(crate) customer_name: String,
    pub(crate) tier: String,
    pub(crate) primary_email: String,
}

/// Saves the user.
pub(crate) async fn save(database: &mut Connection, customer: Uuid, id: Uuid, user: &User) -> Result<()> {
    let now = Utc::now();
    let (name, email, role) = (&*user.name, &*user.email, user.role.as_str());
    let insert = Statement::new("INSERT INTO users (id, customer_id, name, email, role, saved_at) VALUES ");
    let values = [id.into(), customer.into(), name.into(), email.into(), role.into(), now.into()];
    match database.run(insert.row(values)).await {
        Ok(_) => return Ok(()),
        Err(Failure::Other(error)) => return Err(error),
        Err(Failure::Duplicate(_)) => {}
    }
    // It is registered and awaited, or was saved before; otherwise the same address may have an id of the sender's
    // own. Search one key after the other: a search through all users of the customer would wait for those that are
    // being saved at the same time, and these would wait for this one.
    let keys: [(&'static str, Value<'_>); 2] = [(" AND id = ", id.into()), (" AND email = ", email.into())];
    for (key, value) in keys {
        let update = Statement::new("UPDATE users SET name = ").value(name).sql(", email = ").value(email);
        let update = update.sql(", role = ").value(role).sql(", saved_at = COALESCE(saved_at, ").value(now);
        let update = update.sql(") WHERE customer_id = ").value(customer).sql(key).value(value);
        match database.run(update).await {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(Failure::Duplicate(_)) => break,
            Err(Failure::Other(error)) => return Err(error),
        }
    }
    Err(customer::taken_email(email))
}

/// The welcome, if this was the customer's last user. It is decided while the customer's row is locked, so that
/// exactly one of many simultaneous runs sees the last user saved.
pub(crate) async fn welcome_is_due(database: &mut Connection, customer: Uuid) -> Result<Option<Welcome>> {
    let waiting = Statement::new("SELECT name, subscription_tier FROM customers WHERE id = ").value(customer);
    let waiting = waiting.sql(" AND saved_at IS NOT NULL AND welcome_due_at IS NULL");
    let found = database.select_locked(waiting).await?;
    let Some(found) = found.first() else { return Ok(None) };
    let users =
        Statement::new("SELECT email, role, saved_at FROM users WHERE customer_id = ").value(customer);
    let mut owner = None;
    for user in &database.select(users).await? {
        if user.optional_time(2)?.is_none() {
            return Ok(None);
        }
        if user.text(1)? == Role::Owner.as_str() {
            owner = Some(user.text(0)?);
        }
    }
    let Some(primary_email) = owner else { return Ok(None) };
    let due = Statement::new("UPDATE customers SET welcome_due_at = ").value(Utc::now());
    database.run(due.sql(" WHERE id = ").value(customer)).await?;
    Ok(Some(Welcome { customer_name: found.text(0)?, tier: found.text(1)?, primary_email }))
}
