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
        ("CUSTOMER_ID", "UUID; derived from CUSTOMER_NAME where it is missing"),
        ("CUSTOMER_NAME", "1 to 64 characters"),
        ("PRIMARY_EMAIL", "the primary contact's address"),
        ("SUBSCRIPTION_TIER", "basic, groovy or far-out"),
    ];
    const SETTINGS: &'static [(&'static str, &'static str)] = shared::mail::SETTINGS;
    const ACTS: bool = true;
    type Receipt = ();

    fn read(environment: &Environment, cause: &Cause) -> Result<Self> {
        let input: Input = environment.read()?;
        let customer = customer::id_or_derived(environment, "customer", &["CUSTOMER_NAME"])?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const VALID: &[(&str, &str)] = &[
        ("CUSTOMER_ID", "0b5f6a4e-8f35-4d5a-9b1c-7f2d4c3e1a90"),
        ("CUSTOMER_NAME", "TechCorp"),
        ("SUBSCRIPTION_TIER", "groovy"),
        ("PRIMARY_EMAIL", "Ann@X.io"),
        ("MAIL_DIR", "/nowhere"),
    ];

    /// Reads the valid input with these changes; an empty value takes a variable away.
    fn read(changes: &[(&str, &str)]) -> Result<SendWelcomeEmail> {
        let variables: BTreeMap<&str, &str> = VALID.iter().chain(changes).copied().collect();
        let environment = Environment::from_pairs(variables);
        let cause = Cause::read(&environment, SendWelcomeEmail::NAME, &[])?;
        SendWelcomeEmail::read(&environment, &cause)
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
            ("PRIMARY_EMAIL", "ann"),
            ("PRIMARY_EMAIL", "ann@x.io, eve@x.io"),
        ];
        for change in bad {
            assert_eq!(exit_code(&[change]), 65, "{change:?}");
        }
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        for name in ["CUSTOMER_NAME", "PRIMARY_EMAIL", "SUBSCRIPTION_TIER", "MAIL_DIR"] {
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
    fn a_repeat_sends_the_same_mail() {
        let mail = |event| read(&[("EVENT_ID", event)]).unwrap().mail;
        assert_eq!(mail("e1"), mail("e1"));
        assert_ne!(mail("e1").message_id, mail("e2").message_id);
        assert_eq!(mail("e1").to, (None, "ann@x.io".to_owned()));
    }
}
