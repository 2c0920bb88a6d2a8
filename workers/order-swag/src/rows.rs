//! The row of an order.

use chrono::Utc;
use shared::database::{Connection, Failure, Statement};
use shared::{Result, Uuid};

/// The state of an order: placed, or waiting for an address.
pub(crate) const fn status(is_placed: bool) -> &'static str {
    if is_placed { "ordered" } else { "waiting_for_address" }
}

/// Writes the order. If it waited, another event has brought the address. An order that is placed stays placed.
pub(crate) async fn insert(
    database: &mut Connection,
    key: Uuid,
    customer: Uuid,
    package: &str,
    status: &str,
    order_id: Option<&str>,
) -> Result<()> {
    let insert = Statement::new(
        "INSERT INTO swag_orders (idempotency_key, customer_id, package, status, vendor_order_id, created_at) VALUES ",
    )
    .row([key.into(), customer.into(), package.into(), status.into(), order_id.into(), Utc::now().into()]);
    match database.run(insert).await {
        Ok(_) => return Ok(()),
        Err(Failure::Other(error)) => return Err(error),
        Err(Failure::Duplicate(_)) => {}
    }
    let place = Statement::new("UPDATE swag_orders SET status = ").value(status);
    let place = place.sql(", vendor_order_id = COALESCE(").value(order_id).sql(", vendor_order_id)");
    let place = place.sql(" WHERE idempotency_key = ").value(key).sql(" AND status <> 'ordered'");
    database.run(place).await?;
    Ok(())
}
