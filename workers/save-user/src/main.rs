//! Saves a user with its role, and announces the welcome when it was the customer's last.
//!
//! Reads `CUSTOMER_ID`, `USER_ID`, `USER_NAME`, `USER_EMAIL`, `USER_ROLE`; writes `users`, `customers`; emits `welcome-email-sent` once per customer.

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

#[derive(Deserialize)]
struct Input {
    customer_id: Option<String>,
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
        ("CUSTOMER_ID", "UUID; derived from the customer's name where it is missing"),
        ("CUSTOMER_NAME", "the customer's name"),
        ("USER_ID", "UUID; derived from customer and address where it is missing"),
        ("USER_NAME", "1 to 64 characters"),
        ("USER_EMAIL", "1 to 64 characters, unique"),
        ("USER_ROLE", "customer_account_owner, admin_user or generic_user (also ROLE_NAME)"),
    ];
    type Receipt = ();

    fn read(environment: &Environment, _: &Cause) -> Result<Self> {
        let input: Input = environment.read()?;
        let customer = match &input.customer_id {
            Some(id) => customer::id("CUSTOMER_ID", id)?,
            None => environment.identity("customer", &["CUSTOMER_NAME"]),
        };
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
