//! Orders the swag package of the customer's tier at the vendor; without an address yet, the order waits for one.
//!
//! Reads `CUSTOMER_ID`, `CUSTOMER_NAME`, `SUBSCRIPTION_TIER`, `SHIPPING_ADDRESS` and `packages.json`; posts to `SWAG_API_URL`; writes
//! `swag_orders`; emits `touchpoints-created`.

mod package;

use std::process::ExitCode;

use chrono::Utc;
use package::Package;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::config::{Environment, Secret};
use shared::customer::{self, Tier};
use shared::database::{Connection, Failure};
use shared::event::{Announcement, Cause, Kind, derive_id};
use shared::http::{Client, Endpoint, answered_id};
use shared::telemetry::Report;
use shared::{Result, Step, Uuid};

fn main() -> ExitCode {
    shared::run::<OrderSwag>()
}

#[derive(Deserialize)]
struct Input {
    customer_name: String,
    subscription_tier: String,
    shipping_address: Option<String>,
    swag_api_url: Option<String>,
    swag_api_token: Option<Secret>,
}

struct OrderSwag {
    customer: Uuid,
    name: String,
    tier: Tier,
    package: Package,
    /// The same for every event about this customer and package: it is never ordered twice.
    key: Uuid,
    order: Option<Order>,
    welcome_outreach: chrono::NaiveDate,
}

struct Order {
    client: Client,
    vendor: Endpoint,
    address: Value,
}

impl Step for OrderSwag {
    const NAME: &'static str = "order-swag";
    const ABOUT: &'static str = "orders the swag package of the customer's tier at the vendor";
    const TRIGGER: Kind = Kind::SwagOrdered;
    const EMITS: Kind = Kind::TouchpointsCreated;
    const VARIABLES: &'static [(&'static str, &'static str)] = &[
        ("CUSTOMER_ID", "UUID; derived from CUSTOMER_NAME where it is missing"),
        ("CUSTOMER_NAME", "1 to 64 characters"),
        ("SUBSCRIPTION_TIER", "basic, groovy or far-out"),
        ("SHIPPING_ADDRESS", "a text or a JSON object; the order waits while it is missing"),
    ];
    const SETTINGS: &'static [(&'static str, &'static str)] = &[
        ("SWAG_API_URL", "the vendor's address for orders"),
        ("SWAG_API_TOKEN", "its bearer token"),
        ("HTTP_CA", "a PEM file of a private authority"),
    ];
    const ACTS: bool = true;
    type Receipt = Option<String>;

    fn read(environment: &Environment, cause: &Cause) -> Result<Self> {
        let input: Input = environment.read()?;
        let customer = customer::id_or_derived(environment, "customer", &["CUSTOMER_NAME"])?;
        let tier: Tier = input.subscription_tier.parse()?;
        let package = Package::of(tier)?;
        let address = input.shipping_address.as_deref().map(customer::given_address);
        let order =
            match address.filter(|address| address.as_object().is_none_or(|fields| !fields.is_empty())) {
                None => None,
                Some(address) => {
                    customer::shipping_address(Some(&address))?;
                    let url = environment.require("SWAG_API_URL", input.swag_api_url)?;
                    let vendor = Endpoint::new("SWAG_API_URL", &url, input.swag_api_token)?;
                    Some(Order { client: Client::read(environment)?, vendor, address })
                }
            };
        let day = cause.time.unwrap_or_else(Utc::now).date_naive();
        Ok(Self {
            customer,
            name: customer::name("CUSTOMER_NAME", &input.customer_name)?,
            tier,
            key: derive_id(&format!("swag\n{customer}\n{}", package.name)),
            welcome_outreach: package.outreach(day),
            package,
            order,
        })
    }

    fn customer(&self) -> Uuid {
        self.customer
    }

    async fn act(&self, report: &mut Report) -> Result<Option<String>> {
        let Some(Order { client, vendor, address }) = &self.order else {
            report.set("order", "waiting_for_address");
            return Ok(None);
        };
        let body = json!({
            "reference": self.key,
            "customer_id": self.customer,
            "customer_name": self.name,
            "package": self.package.name,
            "items": self.package.items,
            "shipping_address": address,
        });
        let answer = client.post(vendor, &self.key.to_string(), &body).await?;
        let order_id = answered_id(&answer, &["order_id", "id"]);
        report.set("order", "ordered");
        report.set("order_id", order_id.clone());
        Ok(order_id)
    }

    async fn record(
        &self,
        database: &mut Connection,
        order_id: Option<String>,
        _: &mut Report,
    ) -> Result<Vec<Announcement>> {
        let status = if self.order.is_some() { "ordered" } else { "waiting_for_address" };
        let inserted = database
            .execute(
                "INSERT INTO swag_orders (idempotency_key, customer_id, package, status, vendor_order_id, created_at) \
                 VALUES (?, ?, ?, ?, ?, ?)",
                &[
                    self.key.into(),
                    self.customer.into(),
                    self.package.name.as_str().into(),
                    status.into(),
                    order_id.as_deref().into(),
                    Utc::now().into(),
                ],
            )
            .await;
        match inserted {
            Ok(_) => {}
            Err(Failure::Other(error)) => return Err(error),
            // The address came later, with another event. An order that is placed stays placed.
            Err(Failure::Duplicate(_)) => {
                database
                    .execute(
                        "UPDATE swag_orders SET status = ?, vendor_order_id = COALESCE(?, vendor_order_id) \
                         WHERE idempotency_key = ? AND status <> 'ordered'",
                        &[status.into(), order_id.as_deref().into(), self.key.into()],
                    )
                    .await?;
            }
        }
        let data = json!({
            "customer_name": self.name,
            "subscription_tier": self.tier,
            "welcome_outreach": self.welcome_outreach,
        });
        Ok(vec![Announcement { subject: self.customer, data }])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const VALID: &[(&str, &str)] = &[
        ("CUSTOMER_ID", "0b5f6a4e-8f35-4d5a-9b1c-7f2d4c3e1a90"),
        ("CUSTOMER_NAME", "TechCorp"),
        ("SUBSCRIPTION_TIER", "groovy"),
        ("SHIPPING_ADDRESS", "1 Main St"),
        ("SWAG_API_URL", "https://vendor.example/orders"),
    ];

    /// Reads the valid input with these changes; an empty value takes a variable away.
    fn read(changes: &[(&str, &str)]) -> Result<OrderSwag> {
        let variables: BTreeMap<&str, &str> = VALID.iter().chain(changes).copied().collect();
        let environment = Environment::from_pairs(variables);
        let cause = Cause::read(&environment, OrderSwag::NAME, &[])?;
        OrderSwag::read(&environment, &cause)
    }

    fn exit_code(changes: &[(&str, &str)]) -> u8 {
        read(changes).map_or_else(|error| error.class().exit_code(), |_| 0)
    }

    #[test]
    fn bad_input_is_refused_for_good() {
        let bad = [
            ("CUSTOMER_ID", "7"),
            ("CUSTOMER_NAME", &"x".repeat(65)),
            ("CUSTOMER_NAME", "a\u{7}b"),
            ("SUBSCRIPTION_TIER", "gold"),
            ("EVENT_TIME", "noon"),
            ("SHIPPING_ADDRESS", &"x".repeat(1025)),
        ];
        for change in bad {
            assert_eq!(exit_code(&[change]), 65, "{change:?}");
        }
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        for name in ["CUSTOMER_NAME", "SUBSCRIPTION_TIER", "SWAG_API_URL"] {
            assert_eq!(exit_code(&[(name, "")]), 78, "{name}");
        }
    }

    #[test]
    fn without_an_id_the_customer_follows_from_its_name() {
        let customer = |name| read(&[("CUSTOMER_ID", ""), ("CUSTOMER_NAME", name)]).unwrap().customer();
        assert_eq!(customer("TechCorp"), customer("TechCorp"));
        assert_ne!(customer("TechCorp"), customer("Helios"));
    }

    #[test]
    fn the_address_is_a_text_or_an_object() {
        let address = |text| read(&[("SHIPPING_ADDRESS", text)]).unwrap().order.unwrap().address;
        assert_eq!(address("1 Main St"), "1 Main St");
        assert_eq!(address("[1] Main St"), "[1] Main St");
        assert_eq!(address(r#"{"city": "Aarhus"}"#), json!({ "city": "Aarhus" }));
    }

    #[test]
    fn without_an_address_the_order_waits_and_needs_no_vendor() {
        for none in ["", "  ", "{}"] {
            let step = read(&[("SHIPPING_ADDRESS", none), ("SWAG_API_URL", "")]).unwrap();
            assert!(step.order.is_none(), "{none:?}");
        }
    }

    #[test]
    fn the_order_has_one_key_whatever_event_brings_it() {
        let key = |event| read(&[("EVENT_ID", event)]).unwrap().key;
        assert_eq!(key("e1"), key("e2"));
    }
}
