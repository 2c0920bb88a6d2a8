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
    customer_id: Option<String>,
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
        ("CUSTOMER_ID", "UUID; derived from the input where it is missing"),
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
            customer: match &input.customer_id {
                Some(id) => customer::id("CUSTOMER_ID", id)?,
                None => {
                    environment.identity(Self::NAME, &["CUSTOMER_NAME", "SUBSCRIPTION_TIER", "CUSTOMER_DATA"])
                }
            },
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
        for user in &self.users {
            customer::await_user(database, self.customer, user).await?;
        }
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
            Err(Failure::Duplicate(_)) => {}
        }
        database
            .execute(
                "UPDATE customers SET name = ?, subscription_tier = ?, \
                 shipping_address = COALESCE(?, shipping_address), saved_at = COALESCE(saved_at, ?) WHERE id = ?",
                &[
                    self.name.as_str().into(),
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
