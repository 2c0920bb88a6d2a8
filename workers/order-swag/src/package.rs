//! The package of each tier: `packages.json`.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use shared::calendar::working_day;
use shared::customer::{Customer, Tier};
use shared::event::derive_id;
use shared::http::{self, Endpoint, Post};
use shared::prelude::*;

const PACKAGES: &str = include_str!("../packages.json");

/// A package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    /// Its name at the vendor.
    #[serde(rename = "package")]
    pub(crate) name: String,
    /// Days until it arrives.
    delivery_days: u64,
    /// Its content.
    pub(crate) items: Vec<Item>,
}

/// An item of a package.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    sku: String,
    name: String,
    quantity: u32,
}

impl Package {
    /// The package of a tier.
    pub(crate) fn of(tier: Tier) -> Result<Self> {
        let mut packages: BTreeMap<String, Self> = serde_json::from_str(PACKAGES)
            .map_err(|error| Error::bug("packages.json cannot be read").because(error))?;
        packages
            .remove(tier.as_str())
            .ok_or_else(|| Error::bug(format!("packages.json has no package for {tier}")))
    }

    /// The key is the same for every event about this customer and package, so that the package is never ordered
    /// twice.
    pub(crate) fn key(&self, customer: Uuid) -> Uuid {
        derive_id(&format!("swag\n{customer}\n{}", self.name))
    }

    /// The order for the vendor.
    pub(crate) fn order(
        &self,
        customer: &Customer,
        address: &Value,
        to: Endpoint,
        settings: &http::Settings,
    ) -> Result<Post> {
        let key = self.key(customer.id);
        let body = json!({
            "reference": key,
            "customer_id": customer.id,
            "customer_name": customer.name,
            "package": self.name,
            "items": self.items,
            "shipping_address": address,
        });
        Post::new(settings, to, &key, body, &["order_id", "id"])
    }

    /// The day of the welcome outreach: a working day on which a package ordered on `day` has arrived.
    pub(crate) fn outreach(&self, day: NaiveDate) -> NaiveDate {
        working_day(day + Days::new(self.delivery_days))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_has_a_package_with_something_in_it() {
        for &tier in Tier::ALL {
            let package = Package::of(tier).unwrap();
            assert!(
                !package.items.is_empty() && package.items.iter().all(|item| item.quantity > 0),
                "{tier}"
            );
        }
    }

    #[test]
    fn the_outreach_is_on_a_working_day_after_delivery() {
        let package = Package { name: "box".to_owned(), delivery_days: 3, items: Vec::new() };
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        assert_eq!(package.outreach(day("2025-10-06")), day("2025-10-09"));
        assert_eq!(package.outreach(day("2025-10-08")), day("2025-10-13"), "Saturday becomes Monday");
        assert_eq!(package.outreach(day("2025-10-09")), day("2025-10-13"), "Sunday becomes Monday");
    }
}
