//! Validates a whole registration and records it: the customer and its users, none of them saved yet.
//!
//! Reads `COMPANY_DATA`, `COMPANY_NAME`, `SUBSCRIPTION_TIER`, `CUSTOMER_ID`; writes `customers`, `users`; emits `customer-saved`.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::config::Environment;
use shared::customer::{self, Tier, User};
use shared::database::{Connection, Failure};
use shared::event::{Announcement, Cause, Kind};
use shared::telemetry::Report;
use shared::{Error, Result, Step, Uuid};

fn main() -> ExitCode {
    shared::run::<Register>()
}

#[derive(Deserialize)]
struct Input {
    company_name: Option<String>,
    subscription_tier: Option<String>,
    company_data: String,
}

struct Register {
    customer: Uuid,
    name: String,
    tier: Tier,
    users: Vec<User>,
    shipping_address: Option<String>,
    started_at: DateTime<Utc>,
}

impl Step for Register {
    const NAME: &'static str = "register-corporate-customer";
    const ABOUT: &'static str = "validates a whole registration and records it";
    const TRIGGER: Kind = Kind::CustomerRegistered;
    const EMITS: Kind = Kind::CustomerSaved;
    const VARIABLES: &'static [(&'static str, &'static str)] = &[
        ("COMPANY_DATA", "the event's data as JSON: name, subscription_tier, users, shipping_address"),
        ("COMPANY_NAME", "1 to 64 characters; the data's name where it is missing"),
        ("SUBSCRIPTION_TIER", "basic, groovy or far-out; the data's where it is missing"),
        ("CUSTOMER_ID", "UUID; derived from the other three where it is missing"),
    ];
    type Receipt = ();

    fn read(environment: &Environment, cause: &Cause) -> Result<Self> {
        let input: Input = environment.read()?;
        let data: Value = serde_json::from_str(&input.company_data)
            .map_err(|error| Error::input("COMPANY_DATA is not JSON").because(error))?;
        let field = |variable: Option<String>, name: &str| {
            variable
                .or_else(|| data.get(name).and_then(Value::as_str).map(str::to_owned))
                .ok_or_else(|| Error::input(format!("the registration has no {name}")))
        };
        let users = customer::users(&data)?;
        if users.is_empty() {
            return Err(Error::input("the registration has no users; one must be customer_account_owner"));
        }
        Ok(Self {
            customer: customer::id_or_derived(
                environment,
                Self::NAME,
                &["COMPANY_NAME", "SUBSCRIPTION_TIER", "COMPANY_DATA"],
            )?,
            name: customer::name("COMPANY_NAME", &field(input.company_name, "name")?)?,
            tier: field(input.subscription_tier, "subscription_tier")?.parse()?,
            users,
            shipping_address: customer::shipping_address(data.get("shipping_address"))?,
            started_at: cause.time.unwrap_or_else(Utc::now),
        })
    }

    fn customer(&self) -> Uuid {
        self.customer
    }

    async fn record(&self, database: &mut Connection, (): (), _: &mut Report) -> Result<Vec<Announcement>> {
        self.insert_customer(database).await?;
        customer::await_users(database, self.customer, &self.users).await?;
        let mut data = json!({ "name": self.name, "subscription_tier": self.tier, "users": self.users });
        if let Some(address) = &self.shipping_address {
            data["shipping_address"] = customer::given_address(address);
        }
        Ok(vec![Announcement { subject: self.customer, data }])
    }
}

impl Register {
    async fn insert_customer(&self, database: &mut Connection) -> Result<()> {
        let inserted = database
            .execute(
                "INSERT INTO customers (id, name, subscription_tier, shipping_address, started_at) \
                 VALUES (?, ?, ?, ?, ?)",
                &[
                    self.customer.into(),
                    self.name.as_str().into(),
                    self.tier.as_str().into(),
                    self.shipping_address.as_deref().into(),
                    self.started_at.into(),
                ],
            )
            .await;
        match inserted {
            Ok(_) => Ok(()),
            // Registered again by another event: the first registration stands, the flow goes on.
            Err(Failure::Duplicate(_)) => {
                customer::refuse_takeover(database, self.customer, &self.name).await
            }
            Err(Failure::Other(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const COMPANY: &str = r#"{"name": "TechCorp", "subscription_tier": "groovy", "users": [{"name": "Ann", "email": "ann@x.io", "role": "customer_account_owner"}]}"#;
    const VALID: &[(&str, &str)] =
        &[("CUSTOMER_ID", "0b5f6a4e-8f35-4d5a-9b1c-7f2d4c3e1a90"), ("COMPANY_DATA", COMPANY)];

    /// Reads the valid input with these changes; an empty value takes a variable away.
    fn read(changes: &[(&str, &str)]) -> Result<Register> {
        let variables: BTreeMap<&str, &str> = VALID.iter().chain(changes).copied().collect();
        let environment = Environment::from_pairs(variables);
        let cause = Cause::read(&environment, Register::NAME, &[])?;
        Register::read(&environment, &cause)
    }

    fn exit_code(changes: &[(&str, &str)]) -> u8 {
        read(changes).map_or_else(|error| error.class().exit_code(), |_| 0)
    }

    #[test]
    fn bad_input_is_refused_for_good() {
        let bad = [
            ("CUSTOMER_ID", "7"),
            ("COMPANY_NAME", &"x".repeat(65)),
            ("SUBSCRIPTION_TIER", "gold"),
            ("EVENT_TIME", "noon"),
            ("COMPANY_DATA", "{"),
            ("COMPANY_DATA", "[]"),
            (
                "COMPANY_DATA",
                r#"{"users": [{"name": "Ann", "email": "ann@x.io", "role": "customer_account_owner"}]}"#,
            ),
            ("COMPANY_DATA", r#"{"name": "TechCorp", "subscription_tier": "groovy"}"#),
            (
                "COMPANY_DATA",
                r#"{"name": "TechCorp", "subscription_tier": "gold", "users": [{"name": "Ann", "email": "ann@x.io", "role": "customer_account_owner"}]}"#,
            ),
            (
                "COMPANY_DATA",
                r#"{"name": "TechCorp", "subscription_tier": "groovy", "users": [{"name": "Ann", "email": "ann", "role": "customer_account_owner"}]}"#,
            ),
            (
                "COMPANY_DATA",
                r#"{"name": "TechCorp", "subscription_tier": "groovy", "users": [{"name": "Ann", "email": "ann@x.io", "role": "root"}]}"#,
            ),
            (
                "COMPANY_DATA",
                r#"{"name": "TechCorp", "subscription_tier": "groovy", "users": [{"name": "Ann", "email": "ann@x.io", "role": "admin_user"}]}"#,
            ),
            (
                "COMPANY_DATA",
                r#"{"name": "TechCorp", "subscription_tier": "groovy", "users": [{"name": "Ann", "email": "ann@x.io", "role": "customer_account_owner"}], "shipping_address": 7}"#,
            ),
        ];
        for change in bad {
            assert_eq!(exit_code(&[change]), 65, "{change:?}");
        }
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        assert_eq!(exit_code(&[("COMPANY_DATA", "")]), 78);
    }

    #[test]
    fn name_and_tier_come_from_the_data_unless_they_are_given() {
        let step = read(&[]).unwrap();
        assert_eq!((step.name.as_str(), step.tier), ("TechCorp", Tier::Groovy));
        let step = read(&[("COMPANY_NAME", "Helios"), ("SUBSCRIPTION_TIER", "basic")]).unwrap();
        assert_eq!((step.name.as_str(), step.tier), ("Helios", Tier::Basic));
        assert_eq!(step.users.len(), 1);
    }

    #[test]
    fn without_an_id_the_customer_follows_from_the_input() {
        let customer = |name| read(&[("CUSTOMER_ID", ""), ("COMPANY_NAME", name)]).unwrap().customer();
        assert_eq!(customer("TechCorp"), customer("TechCorp"));
        assert_ne!(customer("TechCorp"), customer("Helios"));
    }
}
