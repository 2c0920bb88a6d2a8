//! Orders the swag package of the customer's tier from the vendor. Without an address, the order waits for one.
//!
//! Reads `packages.json`; posts to the vendor; writes `swag_orders`; emits `touchpoints-created`.

mod package;
mod rows;

use chrono::{NaiveDate, Utc};
use package::Package;
use shared::config::Secret;
use shared::customer::{Customer, Tier, given_shipping_address};
use shared::http::{self, Endpoint, GoodAnswer, Post};
use shared::prelude::*;

shared::worker!(OrderSwag);

shared::variables! {
    struct Input {
        job {
            tier: Tier = "SUBSCRIPTION_TIER", "basic, groovy or far-out";
            address: Option<String> = "SHIPPING_ADDRESS", "a text or a JSON object; the order waits while it is missing";
        }
        settings {
            vendor: Option<Secret> = "SWAG_API_URL", "the vendor's address for orders";
            token: Option<Secret> = "SWAG_API_TOKEN", "its bearer token";
            yes: Option<GoodAnswer> = "SWAG_API_ANSWER", "what a good answer contains, if not the usual: any, /field=value or a text";
        }
        groups { customer: Customer; http: http::Settings; }
    }
}

struct OrderSwag {
    customer: Customer,
    tier: Tier,
    package: Package,
    key: Uuid,
    order: Option<Post>,
    welcome_outreach: NaiveDate,
}

impl Step for OrderSwag {
    const ABOUT: &'static str = "orders the swag package of the customer's tier at the vendor";
    const TRIGGER: Kind = Kind::SwagOrdered;
    const EMITS: Kind = Kind::TouchpointsCreated;
    const TIMEOUT_SECONDS: u32 = 120;
    type Input = Input;

    fn read(input: Input, environment: &Environment, cause: &Cause) -> Result<Self> {
        let Input { customer, tier, vendor, token, yes, http, .. } = input;
        let package = Package::of(tier)?;
        let key = package.key(customer.id);
        let order = |address| -> Result<Post> {
            let to = Endpoint::new("SWAG_API_URL", &environment.require("SWAG_API_URL", vendor)?, token)?;
            package.order(&customer, &address, to.saying(yes), &http)
        };
        let order = given_shipping_address(input.address.as_deref())?.map(order).transpose()?;
        let welcome_outreach = package.outreach(cause.time.unwrap_or_else(Utc::now).date_naive());
        Ok(Self { customer, tier, package, key, order, welcome_outreach })
    }

    fn customer(&self) -> Uuid {
        self.customer.id
    }

    fn effects(&self) -> Vec<Effect<'_>> {
        self.order.iter().map(|post| Effect::post("order", post)).collect()
    }

    async fn record(&self, database: &mut Connection, receipts: &Receipts, report: &mut Report) -> Announced {
        let (status, order_id) = (rows::status(self.order.is_some()), receipts.id("order"));
        report.set("order", status);
        if self.order.is_some() {
            report.set("order_id", order_id);
        }
        rows::insert(database, self.key, self.customer.id, &self.package.name, status, order_id).await?;
        self.customer.next(self.tier, json!({ "welcome_outreach": self.welcome_outreach }))
    }
}

#[cfg(test)]
mod tests {
    use shared::testing::Valid;

    use super::*;

    const VALID: Valid = Valid(&[
        ("CUSTOMER_ID", "0b5f6a4e-8f35-4d5a-9b1c-7f2d4c3e1a90"),
        ("CUSTOMER_NAME", "TechCorp"),
        ("SUBSCRIPTION_TIER", "groovy"),
        ("SHIPPING_ADDRESS", "1 Main St"),
        ("SWAG_API_URL", "https://vendor.example/orders"),
    ]);

    fn read(changes: &[(&str, &str)]) -> Result<OrderSwag> {
        VALID.read(changes)
    }

    #[test]
    fn bad_input_is_refused_for_good() {
        VALID.refuses_bad_input::<OrderSwag>(&[("SHIPPING_ADDRESS", &"x".repeat(1025))]);
    }

    #[test]
    fn the_customer_is_known_by_its_id_or_name() {
        VALID.is_about_a_customer::<OrderSwag>(&["SUBSCRIPTION_TIER", "SHIPPING_ADDRESS"]);
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        VALID.each_ends_with::<OrderSwag>(78, &[("SWAG_API_URL", "")]);
    }

    #[test]
    fn the_address_is_a_text_or_an_object() {
        let address = |text| {
            let order = read(&[("SHIPPING_ADDRESS", text)]).unwrap().order.unwrap();
            order.body["shipping_address"].clone()
        };
        assert_eq!(address("1 Main St"), "1 Main St");
        assert_eq!(address("[1] Main St"), "[1] Main St");
        assert_eq!(address(r#"{"city": "Aarhus"}"#), json!({ "city": "Aarhus" }));
    }

    #[test]
    fn without_an_address_the_order_waits_and_needs_no_vendor() {
        for none in ["", "  ", "{}"] {
            let step = read(&[("SHIPPING_ADDRESS", none), ("SWAG_API_URL", "")]).unwrap();
            assert!(step.effects().is_empty(), "{none:?}");
        }
    }

    #[test]
    fn the_order_has_one_key_whatever_event_brings_it() {
        let key = |event| read(&[("EVENT_ID", event)]).unwrap().key;
        assert_eq!(key("e1"), key("e2"));
    }
}
