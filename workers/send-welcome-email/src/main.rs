//! Sends the welcome e-mail to the primary contact.
//!
//! Reads `CUSTOMER_ID`, `CUSTOMER_NAME`, `PRIMARY_EMAIL`, `SUBSCRIPTION_TIER`; sends one mail; writes `sent_mails`; emits `marketing-notified`.

mod welcome;

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;
use shared::config::Environment;
use shared::customer::{self, Tier};
use shared::database::Connection;
use shared::event::{Announcement, Cause, Kind};
use shared::mail::{Mail, Mailer, message_id};
use shared::telemetry::Report;
use shared::{Result, Step, Uuid};

fn main() -> ExitCode {
    shared::run::<SendWelcomeEmail>()
}

#[derive(Deserialize)]
struct Input {
    customer_id: Option<String>,
    customer_name: String,
    primary_email: String,
    subscription_tier: String,
}

struct SendWelcomeEmail {
    customer: Uuid,
    name: String,
    tier: Tier,
    mail: Mail,
    mailer: Mailer,
}

impl Step for SendWelcomeEmail {
    const NAME: &'static str = "send-welcome-email";
    const ABOUT: &'static str = "sends the welcome e-mail to the primary contact";
    const TRIGGER: Kind = Kind::WelcomeEmailSent;
    const EMITS: Kind = Kind::MarketingNotified;
    const VARIABLES: &'static [(&'static str, &'static str)] = &[
        ("CUSTOMER_ID", "UUID; derived from the input where it is missing"),
        ("CUSTOMER_NAME", "1 to 64 characters"),
        ("PRIMARY_EMAIL", "the primary contact's address"),
        ("SUBSCRIPTION_TIER", "basic, groovy or far-out"),
    ];
    const SETTINGS: &'static [(&'static str, &'static str)] = shared::mail::SETTINGS;
    const ACTS: bool = true;
    type Receipt = ();

    fn read(environment: &Environment, cause: &Cause) -> Result<Self> {
        let input: Input = environment.read()?;
        let customer = match &input.customer_id {
            Some(id) => customer::id("CUSTOMER_ID", id)?,
            None => environment.identity("customer", &["CUSTOMER_NAME"]),
        };
        let name = customer::name("CUSTOMER_NAME", &input.customer_name)?;
        let email = customer::email("PRIMARY_EMAIL", &input.primary_email)?;
        let tier = input.subscription_tier.parse()?;
        let message_id = message_id(&cause.id, Self::NAME, customer);
        let mail = welcome::mail(message_id, &name, email, tier)?;
        Ok(Self { customer, name, tier, mail, mailer: Mailer::read(environment)? })
    }

    fn customer(&self) -> Uuid {
        self.customer
    }

    async fn act(&self, report: &mut Report) -> Result<()> {
        self.mailer.send(&self.mail).await?;
        report.set("message_id", self.mail.message_id.as_str());
        Ok(())
    }

    async fn record(&self, database: &mut Connection, (): (), _: &mut Report) -> Result<Vec<Announcement>> {
        shared::mail::record(database, &self.mail.message_id, self.customer, "welcome").await?;
        let sql = "SELECT COUNT(*) FROM users WHERE customer_id = ? AND saved_at IS NOT NULL";
        let user_count = match database.row(sql, &[self.customer.into()]).await? {
            Some(row) => row.integer(0)?,
            None => 0,
        };
        let data = json!({
            "customer_name": self.name,
            "subscription_tier": self.tier,
            "user_count": user_count,
        });
        Ok(vec![Announcement { subject: self.customer, data }])
    }
}
