//! Saves the customer, and announces each of its users.
//!
//! Writes `customers`, `users`; emits one `user-saved` per user.

mod rows;

use chrono::{DateTime, Utc};
use shared::address::Rules;
use shared::customer::{self, Customer, Name, Tier, User, given_or_derived};
use shared::prelude::*;

shared::worker!(SaveCustomer);

shared::variables! {
    struct Input {
        job {
            id: Option<Uuid> = "CUSTOMER_ID", "UUID; derived from the other three where it is missing";
            name: Name = "CUSTOMER_NAME", "1 to 64 characters";
            tier: Tier = "SUBSCRIPTION_TIER", "basic, groovy or far-out";
            data: Option<String> = "CUSTOMER_DATA", "the event's data as JSON; its users may be absent";
        }
    }
}

struct SaveCustomer {
    customer: Customer,
    tier: Tier,
    users: Vec<User>,
    shipping_address: Option<String>,
    started_at: DateTime<Utc>,
}

impl Step for SaveCustomer {
    const ABOUT: &'static str = "saves the customer and announces each of its users";
    const TRIGGER: Kind = Kind::CustomerSaved;
    const EMITS: Kind = Kind::UserSaved;
    type Input = Input;

    fn read(input: Input, environment: &Environment, cause: &Cause) -> Result<Self> {
        let Input { id, name, tier, data } = input;
        let data: Value = serde_json::from_str(data.as_deref().unwrap_or("null"))
            .map_err(|error| Error::input("CUSTOMER_DATA is not JSON").because(error))?;
        let of = ["CUSTOMER_NAME", "SUBSCRIPTION_TIER", "CUSTOMER_DATA"];
        Ok(Self {
            customer: Customer { id: given_or_derived(id, environment, Self::NAME, &of), name },
            tier,
            users: customer::users(&data, Rules::of(environment)?)?,
            shipping_address: customer::shipping_address(data.get("shipping_address"))?,
            started_at: cause.time.unwrap_or_else(Utc::now),
        })
    }

    fn customer(&self) -> Uuid {
        self.customer.id
    }

    async fn record(&self, database: &mut Connection, _: &Receipts, _: &mut Report) -> Announced {
        rows::save(database, self).await?;
        customer::await_users(database, self.customer.id, &self.users).await?;
        // This includes users whose events were published by hand before this one: their welcome waited for the
        // customer.
        let users = customer::known_users(database, self.customer.id).await?;
        let announce = |(id, user): (Uuid, User)| {
            let data = json!({
                "customer_id": self.customer.id,
                "customer_name": self.customer.name,
                "subscription_tier": self.tier,
                "user_id": id,
                "name": user.name,
                "email": user.email,
                "role": user.role,
            });
            Announcement { subject: id, data }
        };
        Ok(users.into_iter().map(announce).collect())
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
        (
            "CUSTOMER_DATA",
            r#"{"users": [{"name": "Ann", "email": "ann@x.io", "role": "customer_account_owner"}]}"#,
        ),
    ]);

    fn read(changes: &[(&str, &str)]) -> Result<SaveCustomer> {
        VALID.read(changes)
    }

    #[test]
    fn bad_input_is_refused_for_good() {
        VALID.refuses_bad_input::<SaveCustomer>(&[
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
        ]);
    }

    #[test]
    fn the_customer_is_known_by_its_id_or_name() {
        VALID.is_about_a_customer::<SaveCustomer>(&["SUBSCRIPTION_TIER", "CUSTOMER_DATA"]);
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
