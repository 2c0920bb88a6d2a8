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
    customer_id: Option<String>,
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
        ("CUSTOMER_ID", "UUID; derived from the input where it is missing"),
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
            customer: match &input.customer_id {
                Some(id) => customer::id("CUSTOMER_ID", id)?,
                None => {
                    environment.identity(Self::NAME, &["COMPANY_NAME", "SUBSCRIPTION_TIER", "COMPANY_DATA"])
                }
            },
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
        for user in &self.users {
            customer::await_user(database, self.customer, user).await?;
        }
        let mut data = json!({ "name": self.name, "subscription_tier": self.tier, "users": self.users });
        if let Some(address) = &self.shipping_address {
            data["shipping_address"] = json!(address);
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
            // Registered again by another event: the first registration stands, the flow goes on.
            Ok(_) | Err(Failure::Duplicate(_)) => Ok(()),
            Err(Failure::Other(error)) => Err(error),
        }
    }
}
