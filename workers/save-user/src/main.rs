//! Saves a user with its role, and announces the welcome when it was the customer's last.
//!
//! Reads `CUSTOMER_ID`, `CUSTOMER_NAME`, `USER_ID`, `USER_NAME`, `USER_EMAIL`, `USER_ROLE`; writes `users`, `customers`; emits `welcome-email-sent` once per customer.

use std::process::ExitCode;

use chrono::Utc;
use serde::Deserialize;
use serde_json::json;
use shared::config::Environment;
use shared::customer::{self, Role, User};
use shared::database::{Connection, Failure};
use shared::event::{Announcement, Cause, Kind};
use shared::telemetry::Report;
use shared::{Result, Step, Uuid};

fn main() -> ExitCode {
    shared::run::<SaveUser>()
}

#[expect(clippy::struct_field_names, reason = "they are the names of the variables")]
#[derive(Deserialize)]
struct Input {
    user_id: Option<String>,
    user_name: String,
    user_email: String,
    user_role: String,
}

struct SaveUser {
    customer: Uuid,
    id: Uuid,
    user: User,
}

impl Step for SaveUser {
    const NAME: &'static str = "save-user";
    const ABOUT: &'static str = "saves a user with its role; the customer's last one starts the welcome";
    const TRIGGER: Kind = Kind::UserSaved;
    const EMITS: Kind = Kind::WelcomeEmailSent;
    const VARIABLES: &'static [(&'static str, &'static str)] = &[
        ("CUSTOMER_ID", "UUID; derived from CUSTOMER_NAME, else from USER_EMAIL, where it is missing"),
        ("CUSTOMER_NAME", "names the customer where CUSTOMER_ID is missing"),
        ("USER_ID", "UUID; derived from customer and address where it is missing"),
        ("USER_NAME", "1 to 64 characters"),
        ("USER_EMAIL", "1 to 64 characters, unique in the system"),
        ("USER_ROLE", "customer_account_owner, admin_user or generic_user (also ROLE_NAME)"),
    ];
    type Receipt = ();

    fn read(environment: &Environment, _: &Cause) -> Result<Self> {
        let input: Input = environment.read()?;
        // Nothing but the user itself is left where the customer has neither id nor name.
        let known_by =
            if environment.get("CUSTOMER_NAME").is_some() { "CUSTOMER_NAME" } else { "USER_EMAIL" };
        let customer = customer::id_or_derived(environment, "customer", &[known_by])?;
        let user = User {
            name: customer::name("USER_NAME", &input.user_name)?,
            email: customer::email("USER_EMAIL", &input.user_email)?,
            role: input.user_role.parse()?,
        };
        let id = match &input.user_id {
            Some(id) => customer::id("USER_ID", id)?,
            None => customer::user_id(customer, &user.email),
        };
        Ok(Self { customer, id, user })
    }

    fn customer(&self) -> Uuid {
        self.customer
    }

    fn subject(&self) -> Uuid {
        self.id
    }

    async fn record(&self, database: &mut Connection, (): (), _: &mut Report) -> Result<Vec<Announcement>> {
        self.save(database).await?;
        self.welcome(database).await
    }
}

impl SaveUser {
    async fn save(&self, database: &mut Connection) -> Result<()> {
        let now = Utc::now();
        let (name, email, role) = (&*self.user.name, &*self.user.email, self.user.role.as_str());
        let inserted = database
            .execute(
                "INSERT INTO users (id, customer_id, name, email, role, saved_at) VALUES (?, ?, ?, ?, ?, ?)",
                &[self.id.into(), self.customer.into(), name.into(), email.into(), role.into(), now.into()],
            )
            .await;
        match inserted {
            Ok(_) => return Ok(()),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Duplicate(_)) => {}
        }
        // Registered and awaited, saved before, or the same address under an id of the sender's own.
        let updated = database
            .execute(
                "UPDATE users SET name = ?, email = ?, role = ?, saved_at = COALESCE(saved_at, ?) \
                 WHERE customer_id = ? AND (id = ? OR email = ?)",
                &[
                    name.into(),
                    email.into(),
                    role.into(),
                    now.into(),
                    self.customer.into(),
                    self.id.into(),
                    email.into(),
                ],
            )
            .await;
        match updated {
            Ok(0) | Err(Failure::Duplicate(_)) => Err(customer::taken_email(email)),
            Ok(_) => Ok(()),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    /// Decided under the customer's row lock, so that of many runs at once exactly one sees the last user saved.
    async fn welcome(&self, database: &mut Connection) -> Result<Vec<Announcement>> {
        let customer = database
            .locked_rows(
                "SELECT name, subscription_tier FROM customers \
                 WHERE id = ? AND saved_at IS NOT NULL AND welcome_due_at IS NULL",
                &[self.customer.into()],
            )
            .await?;
        let Some(customer) = customer.first() else { return Ok(Vec::new()) };
        let users = database
            .rows("SELECT email, role, saved_at FROM users WHERE customer_id = ?", &[self.customer.into()])
            .await?;
        let mut owner = None;
        for user in &users {
            if user.optional_time(2)?.is_none() {
                return Ok(Vec::new());
            }
            if user.text(1)? == Role::Owner.as_str() {
                owner = Some(user.text(0)?);
            }
        }
        let Some(primary_email) = owner else { return Ok(Vec::new()) };
        database
            .execute(
                "UPDATE customers SET welcome_due_at = ? WHERE id = ?",
                &[Utc::now().into(), self.customer.into()],
            )
            .await?;
        let data = json!({
            "customer_name": customer.text(0)?,
            "primary_email": primary_email,
            "subscription_tier": customer.text(1)?,
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
        ("USER_ID", "5d0c1f7e-2b7a-4a52-8d6c-6f1e0a9b3c44"),
        ("USER_NAME", "Ann"),
        ("USER_EMAIL", "Ann@X.io"),
        ("USER_ROLE", "customer_account_owner"),
    ];

    /// Reads the valid input with these changes; an empty value takes a variable away.
    fn read(changes: &[(&str, &str)]) -> Result<SaveUser> {
        let variables: BTreeMap<&str, &str> = VALID.iter().chain(changes).copied().collect();
        let environment = Environment::from_pairs(variables);
        let cause = Cause::read(&environment, SaveUser::NAME, &[])?;
        SaveUser::read(&environment, &cause)
    }

    fn exit_code(changes: &[(&str, &str)]) -> u8 {
        read(changes).map_or_else(|error| error.class().exit_code(), |_| 0)
    }

    #[test]
    fn bad_input_is_refused_for_good() {
        let bad = [
            ("CUSTOMER_ID", "7"),
            ("USER_ID", "7"),
            ("USER_NAME", &"x".repeat(65)),
            ("USER_NAME", "a\u{7}b"),
            ("USER_EMAIL", "ann"),
            ("USER_EMAIL", &format!("{}@x.io", "x".repeat(60))),
            ("USER_ROLE", "root"),
            ("EVENT_TIME", "noon"),
        ];
        for change in bad {
            assert_eq!(exit_code(&[change]), 65, "{change:?}");
        }
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        for name in ["USER_NAME", "USER_EMAIL", "USER_ROLE"] {
            assert_eq!(exit_code(&[(name, "")]), 78, "{name}");
        }
    }

    #[test]
    fn role_name_is_taken_for_user_role() {
        let step = read(&[("USER_ROLE", ""), ("ROLE_NAME", "generic_user")]).unwrap();
        assert_eq!(step.user.role, Role::Generic);
    }

    #[test]
    fn without_an_id_the_user_follows_from_customer_and_address() {
        let id = |email| read(&[("USER_ID", ""), ("USER_EMAIL", email)]).unwrap().subject();
        assert_eq!(id("ann@x.io"), id("ANN@x.io"));
        assert_ne!(id("ann@x.io"), id("bob@x.io"));
    }

    #[test]
    fn without_an_id_the_customer_follows_from_its_name_else_from_the_user() {
        let customer = |name, email| {
            let changes = [("CUSTOMER_ID", ""), ("CUSTOMER_NAME", name), ("USER_EMAIL", email)];
            read(&changes).unwrap().customer()
        };
        assert_eq!(customer("TechCorp", "ann@x.io"), customer("TechCorp", "bob@x.io"));
        assert_eq!(customer("", "ann@x.io"), customer("", "ann@x.io"));
        assert_ne!(customer("", "ann@x.io"), customer("", "bob@x.io"), "strangers are no colleagues");
    }
}
