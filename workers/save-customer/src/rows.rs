//! The row of a customer.

use chrono::Utc;
use shared::customer;
use shared::database::{Failure, Statement};
use shared::prelude::*;

use super::SaveCustomer;

/// Inserts the customer, or updates it from the event. The row of another customer with the same name is not changed.
pub(crate) async fn save(database: &mut Connection, step: &SaveCustomer) -> Result<()> {
    let (id, tier, now) = (step.customer.id, step.tier.as_str(), Utc::now());
    let address = step.shipping_address.as_deref();
    let insert = Statement::new(
        "INSERT INTO customers (id, name, subscription_tier, shipping_address, started_at, saved_at) VALUES ",
    );
    let values = [
        id.into(),
        (&*step.customer.name).into(),
        tier.into(),
        address.into(),
        step.started_at.into(),
        now.into(),
    ];
    match database.run(insert.row(values)).await {
        Ok(_) => return Ok(()),
        Err(Failure::Other(error)) => return Err(error),
        Err(Failure::Duplicate(_)) => customer::refuse_takeover(database, id, &step.customer.name).await?,
    }
    let save = Statement::new("UPDATE customers SET subscription_tier = ").value(tier);
    let save = save.sql(", shipping_address = COALESCE(").value(address).sql(", shipping_address)");
    let save = save.sql(", saved_at = COALESCE(saved_at, ").value(now).sql(") WHERE id = ").value(id);
    database.run(save).await?;
    Ok(())
}
