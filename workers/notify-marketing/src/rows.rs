//! The rows of the customer that are read.

use shared::customer;
use shared::database::Statement;
use shared::prelude::*;

/// The delivery address of its swag, as a fact for the next event; `None` if it is not known yet.
pub(crate) async fn known_address(database: &mut Connection, customer: Uuid) -> Result<Value> {
    let address = Statement::new("SELECT shipping_address FROM customers WHERE id = ").value(customer);
    let row = database.select_one(address).await?;
    let address = row.map_or(Ok(None), |row| row.optional_text(0))?;
    Ok(address.map_or(json!({}), |text| json!({ "shipping_address": customer::given_address(&text) })))
}
