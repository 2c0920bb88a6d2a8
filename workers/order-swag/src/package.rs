//! What each tier gets: `packages.json`.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use shared::calendar::working_day;
use shared::customer::Tier;
use shared::{Error, Result};

const PACKAGES: &str = include_str!("../packages.json");

/// A package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    /// Its name at the vendor.
    #[serde(rename = "package")]
    pub(crate) name: String,
    /// Days until it is there.
    delivery_days: u64,
    /// What is in it.
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

    /// The day of the welcome outreach: a working day, when the package ordered on `day` has arrived.
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
