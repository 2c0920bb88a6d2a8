//! The registration: the whole data of the event.

use shared::address::Rules;
use shared::config::FromText;
use shared::customer::{self, Name, Tier, User};
use shared::prelude::*;

/// The registration.
pub(crate) struct Registration {
    pub(crate) name: Name,
    pub(crate) tier: Tier,
    pub(crate) users: Vec<User>,
    pub(crate) shipping_address: Option<String>,
}

impl Registration {
    /// A given name and tier win over those in the data.
    pub(crate) fn read(
        name: Option<Name>,
        tier: Option<Tier>,
        data: &Value,
        addresses: Rules,
    ) -> Result<Self> {
        let registration = Self {
            name: given_or_in("name", name, data)?,
            tier: given_or_in("subscription_tier", tier, data)?,
            users: customer::users(data, addresses)?,
            shipping_address: customer::shipping_address(data.get("shipping_address"))?,
        };
        if registration.users.is_empty() {
            return Err(Error::input("the registration has no users; one must be customer_account_owner"));
        }
        Ok(registration)
    }
}

/// The value of a variable, otherwise the value with this name in the data.
fn given_or_in<T: FromText>(field: &str, given: Option<T>, data: &Value) -> Result<T> {
    let stated = || {
        let text = data.get(field).and_then(Value::as_str);
        let text = text.ok_or_else(|| Error::input(format!("the registration has no {field}")))?;
        T::from_text(text).map_err(|wrong| Error::input(format!("{field} {wrong}")))
    };
    given.map_or_else(stated, Ok)
}
