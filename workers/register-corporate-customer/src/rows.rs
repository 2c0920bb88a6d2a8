//! The rows of a registration.

use shared::customer;
use shared::database::{Connection, Failure, Statement};
use shared::{Result, Step};

use crate::{Register, Registration};

/// Writes the registration. If another event has already registered the customer, that registration stays unchanged
/// and is returned.
pub(crate) async fn first_registration(
    database: &mut Connection,
    Register { customer, event, registration, started_at }: &Register,
) -> Result<Option<Registration>> {
    let Registration { name, tier, users, shipping_address } = registration;
    let insert = Statement::new(
        "INSERT INTO customers (id, name, subscription_tier, shipping_address, started_at) VALUES ",
    );
    let address = shipping_address.as_deref();
    let values =
        [(*customer).into(), (&**name).into(), tier.as_str().into(), address.into(), (*started_at).into()];
    match database.run(insert.row(values)).await {
        Ok(_) => {}
        Err(Failure::Other(error)) => return Err(error),
        Err(Failure::Duplicate(_)) => {
            customer::refuse_takeover(database, *customer, name).await?;
            let other = Statement::new("SELECT 1 FROM handled_events WHERE step = ").value(Register::NAME);
            let other = other
                .sql(" AND customer_id = ")
                .value(*customer)
                .sql(" AND event_id <> ")
                .value(event.as_str());
            if database.select_one(other).await?.is_some() {
                return known(database, registration, *customer).await.map(Some);
            }
            // It was saved by hand before it was registered, and the registration completes it.
        }
    }
    customer::await_users(database, *customer, users).await?;
    Ok(None)
}

async fn known(
    database: &mut Connection,
    registration: &Registration,
    customer: shared::Uuid,
) -> Result<Registration> {
    let select = Statement::new("SELECT subscription_tier, shipping_address FROM customers WHERE id = ");
    let row = database.select_one(select.value(customer)).await?;
    let (tier, shipping_address) = match row {
        Some(row) => (row.text(0)?.parse()?, row.optional_text(1)?),
        None => (registration.tier, registration.shipping_address.clone()),
    };
    let users = customer::known_users(database, customer).await?.into_iter().map(|(_, user)| user).collect();
    Ok(Registration { name: registration.name.clone(), tier, users, shipping_address })
}
