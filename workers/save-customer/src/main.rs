//! Saves the customer, and announces each of its users.
//!
//! Reads `CUSTOMER_DATA`, `CUSTOMER_NAME`, `SUBSCRIPTION_TIER`, `CUSTOMER_ID`; writes `customers`, `users`; emits one `user-saved` per user.

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
    shared::run::<SaveCustomer>()
}

#[derive(Deserialize)]
struct Input {
    customer_name: String,
    subscription_tier: String,
    customer_data: Option<String>,
}

struct SaveCustomer {
    customer: Uuid,
    name: String,
    tier: Tier,
    users: Vec<User>,
    shipping_address: Option<String>,
    started_at: DateTime<Utc>,
}

impl Step for SaveCustomer {
    const NAME: &'static str = "save-customer";
    const ABOUT: &'static str = "saves the customer and announces each of its users";
    const TRIGGER: Kind = Kind::CustomerSaved;
    const EMITS: Kind = Kind::UserSaved;
    const VARIABLES: &'static [(&'static str, &'static str)] = &[
        ("CUSTOMER_ID", "UUID; derived from the other three where it is missing"),
        ("CUSTOMER_NAME", "1 to 64 characters"),
        ("SUBSCRIPTION_TIER", "basic, groovy or far-out"),
        ("CUSTOMER_DATA", "the event's data as JSON; its users may be absent"),
    ];
    type Receipt = ();

    fn read(environment: &Environment, cause: &Cause) -> Result<Self> {
        let input: Input = environment.read()?;
        let data: Value = match &input.customer_data {
            None => Value::Null,
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Error::input("CUSTOMER_DATA is not JSON").because(error))?,
        };
        Ok(Self {
            customer: customer::id_or_derived(
                environment,
                Self::NAME,
                &["CUSTOMER_NAME", "SUBSCRIPTION_TIER", "CUSTOMER_DATA"],
            )?,
            name: customer::name("CUSTOMER_NAME", &input.customer_name)?,
            tier: input.subscription_tier.parse()?,
            users: customer::users(&data)?,
            shipping_address: customer::shipping_address(data.get("shipping_address"))?,
            started_at: cause.time.unwrap_or_else(Utc::now),
        })
    }

    fn customer(&self) -> Uuid {
        self.customer
    }

    async fn record(&self, database: &mut Connection, (): (), _: &mut Report) -> Result<Vec<Announcement>> {
        self.save(database).await?;
        customer::await_users(database, self.customer, &self.users).await?;
        // Also those whose events came before this one, published by hand: the welcome waited for the customer.
        let users = database
            .locked_rows(
                "SELECT id, name, email, role FROM users WHERE customer_id = ? ORDER BY email",
                &[self.customer.into()],
            )
            .await?;
        users
            .iter()
            .map(|user| {
                let id = user.id(0)?;
                let data = json!({
                    "customer_id": self.customer,
                    "customer_name": self.name,
                    "subscription_tier": self.tier,
                    "user_id": id,
                    "name": user.text(1)?,
                    "email": user.text(2)?,
                    "role": user.text(3)?,
                });
                Ok(Announcement { subject: id, data })
            })
            .collect()
    }
}

impl SaveCustomer {
    async fn save(&self, database: &mut Connection) -> Result<()> {
        let now = Utc::now();
        let inserted = database
            .execute(
                "INSERT INTO customers (id, name, subscription_tier, shipping_address, started_at, saved_at) \
                 VALUES (?, ?, ?, ?, ?, ?)",
                &[
                    self.customer.into(),
                    self.name.as_str().into(),
                    self.tier.as_str().into(),
                    self.shipping_address.as_deref().into(),
                    self.started_at.into(),
                    now.into(),
                ],
            )
            .await;
        match inserted {
            Ok(_) => return Ok(()),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Duplicate(_)) => {
                customer::refuse_takeover(database, self.customer, &self.name).await?;
            }
        }
        database
            .execute(
                "UPDATE customers SET subscription_tier = ?, \
                 shipping_address = COALESCE(?, shipping_address), saved_at = COALESCE(saved_at, ?) WHERE id = ?",
                &[
                    self.tier.as_str().into(),
                    self.shipping_address.as_deref().into(),
                    now.into(),
                    self.customer.into(),
                ],
            )
            .await?;
        Ok(())
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
        (
            "CUSTOMER_DATA",
            r#"{"users": [{"name": "Ann", "email": "ann@x.io", "role": "customer_account_owner"}]}"#,
        ),
    ];

    /// Reads the valid input with these changes; an empty value takes a variable away.
    fn read(changes: &[(&str, &str)]) -> Result<SaveCustomer> {
        let variables: BTreeMap<&str, &str> = VALID.iter().chain(changes).copied().collect();
        let environment = Environment::from_pairs(variables);
        let cause = Cause::read(&environment, SaveCustomer::NAME, &[])?;
        SaveCustomer::read(&environment, &cause)
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
            ("CUSTOMER_DATA", "{"),
            ("CUSTOMER_DATA", r#"{"users": 7}"#),
            (
                "CUSTOMER_DATA",
                r#"{"users": [{"name": "Ann", "email": "ann", "role": "customer_account_owner"}]}"#,
            ),
            ("CUSTOMER_DATA", r#"{"users": [{"name": "Ann", "email": "ann@x.io", "role": "root"}]}"#),
            ("CUSTOMER_DATA", r#"{"users": [{"name": "Ann", "email": "ann@x.io", "role": "admin_user"}]}"#),
            (
                "CUSTOMER_DATA",
                r#"{"users": [{"name": "Ann", "email": "ann@x.io", "role": "customer_account_owner"}], "shipping_address": 7}"#,
            ),
        ];
        for change in bad {
            assert_eq!(exit_code(&[change]), 65, "{change:?}");
        }
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        for name in ["CUSTOMER_NAME", "SUBSCRIPTION_TIER"] {
            assert_eq!(exit_code(&[(name, "")]), 78, "{name}");
        }
    }

    #[test]
    fn the_data_may_be_missing_and_so_may_its_users() {
        for data in ["", "null", "{}", r#"{"name": "TechCorp"}"#] {
            let step = read(&[("CUSTOMER_DATA", data)]).unwrap();
            assert!(step.users.is_empty() && step.shipping_address.is_none(), "{data:?}");
        }
    }

    #[test]
    fn without_an_id_the_customer_follows_from_the_input() {
        let customer = |data| read(&[("CUSTOMER_ID", ""), ("CUSTOMER_DATA", data)]).unwrap().customer();
        assert_eq!(customer("{}"), customer("{ }"));
        assert_ne!(customer("{}"), customer(""));
    }
}
