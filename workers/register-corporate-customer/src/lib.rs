//! Validates a whole registration and records it: the customer and its users, which are not saved yet.
//!
//! Writes `customers`, `users`; emits `customer-saved`.

mod registration;
mod rows;

use chrono::{DateTime, Utc};
use registration::Registration;
use shared::address::Rules;
use shared::customer::{self, Name, Tier, given_or_derived};
use shared::prelude::*;

shared::worker!(Register);

shared::variables! {
    struct Input {
        job {
            data: String = "COMPANY_DATA", "the event's data as JSON: name, subscription_tier, users, shipping_address";
            name: Option<Name> = "COMPANY_NAME", "1 to 64 characters; the data's name where it is missing";
            tier: Option<Tier> = "SUBSCRIPTION_TIER", "basic, groovy or far-out; the data's where it is missing";
            customer: Option<Uuid> = "CUSTOMER_ID", "UUID; derived from the other three where it is missing";
        }
    }
}

struct Register {
    customer: Uuid,
    /// The id of the event that brings it. Another event about the same customer is another registration.
    event: String,
    registration: Registration,
    started_at: DateTime<Utc>,
}

impl Step for Register {
    const ABOUT: &'static str = "validates a whole registration and records it";
    const TRIGGER: Kind = Kind::CustomerRegistered;
    const EMITS: Kind = Kind::CustomerSaved;
    type Input = Input;

    fn read(input: Input, environment: &Environment, cause: &Cause) -> Result<Self> {
        let data: Value = serde_json::from_str(&input.data)
            .map_err(|error| Error::input("COMPANY_DATA is not JSON").because(error))?;
        let registration = Registration::read(input.name, input.tier, &data, Rules::of(environment)?)?;
        let of = ["COMPANY_NAME", "SUBSCRIPTION_TIER", "COMPANY_DATA"];
        let customer = given_or_derived(input.customer, environment, Self::NAME, &of);
        let started_at = cause.time.unwrap_or_else(Utc::now);
        Ok(Self { customer, event: cause.id.clone(), registration, started_at })
    }

    fn customer(&self) -> Uuid {
        self.customer
    }

    async fn record(&self, database: &mut Connection, _: &Receipts, _: &mut Report) -> Announced {
        let first = rows::first_registration(database, self).await?;
        let Registration { name, tier, users, shipping_address } =
            first.as_ref().unwrap_or(&self.registration);
        let mut data = json!({ "name": name, "subscription_tier": tier, "users": users });
        if let Some(address) = shipping_address {
            data["shipping_address"] = customer::given_address(address);
        }
        Ok(vec![Announcement { subject: self.customer, data }])
    }
}

#[cfg(test)]
mod tests {
    use shared::testing::Valid;

    use super::*;

    const COMPANY: &str = r#"{"name": "TechCorp", "subscription_tier": "groovy", "users": [{"name": "Ann", "email": "ann@x.io", "role": "customer_account_owner"}]}"#;
    const VALID: Valid =
        Valid(&[("CUSTOMER_ID", "0b5f6a4e-8f35-4d5a-9b1c-7f2d4c3e1a90"), ("COMPANY_DATA", COMPANY)]);

    fn read(changes: &[(&str, &str)]) -> Result<Register> {
        VALID.read(changes)
    }

    #[test]
    fn bad_input_is_refused_for_good() {
        VALID.refuses_bad_input::<Register>(&[
            ("COMPANY_NAME", &"x".repeat(65)),
            ("SUBSCRIPTION_TIER", "gold"),
            ("COMPANY_DATA", "{"),
            ("COMPANY_DATA", "[]"),
            (
                "COMPANY_DATA",
                r#"{"users": [{"name": "Ann", "email": "ann@x.io", "role": "customer_account_owner"}]}"#,
            ),
            ("COMPANY_DATA", r#"{"name": "TechCorp", "subscription_tier": "groovy"}"#),
            ("COMPANY_DATA", &COMPANY.replace("groovy", "gold")),
            ("COMPANY_DATA", &COMPANY.replace("ann@x.io", "ann")),
            ("COMPANY_DATA", &COMPANY.replace("customer_account_owner", "root")),
            ("COMPANY_DATA", &COMPANY.replace("customer_account_owner", "admin_user")),
            ("COMPANY_DATA", &COMPANY.replace(r#""users""#, r#""shipping_address": 7, "users""#)),
        ]);
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        VALID.each_ends_with::<Register>(78, &[("COMPANY_DATA", "")]);
    }

    #[test]
    fn name_and_tier_come_from_the_data_unless_they_are_given() {
        let registered = |changes: &[(&str, &str)]| read(changes).unwrap().registration;
        let data = registered(&[]);
        assert_eq!((&*data.name, data.tier, data.users.len()), ("TechCorp", Tier::Groovy, 1));
        let given = registered(&[("COMPANY_NAME", "Helios"), ("SUBSCRIPTION_TIER", "basic")]);
        assert_eq!((&*given.name, given.tier), ("Helios", Tier::Basic));
    }

    #[test]
    fn without_an_id_the_customer_follows_from_the_input() {
        let customer = |name| read(&[("CUSTOMER_ID", ""), ("COMPANY_NAME", name)]).unwrap().customer();
        assert_eq!(customer("TechCorp"), customer("TechCorp"));
        assert_ne!(customer("TechCorp"), customer("Helios"));
    }
}
