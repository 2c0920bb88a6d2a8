//! Sends the welcome e-mail to the primary contact.
//!
//! Sends one mail; writes `sent_mails`; emits `marketing-notified`.

mod welcome;

use shared::address::Rules;
use shared::customer::{Customer, Tier};
use shared::database::Statement;
use shared::mail::{self, Mail, Mailer, message_id};
use shared::prelude::*;

shared::worker!(SendWelcomeEmail);

shared::variables! {
    struct Input {
        job {
            email: String = "PRIMARY_EMAIL", "the primary contact's address";
            tier: Tier = "SUBSCRIPTION_TIER", "basic, groovy or far-out";
        }
        groups { customer: Customer; mail: mail::Settings; }
    }
}

struct SendWelcomeEmail {
    customer: Customer,
    tier: Tier,
    mail: Mail,
    mailer: Mailer,
}

impl Step for SendWelcomeEmail {
    const ABOUT: &'static str = "sends the welcome e-mail to the primary contact";
    const TRIGGER: Kind = Kind::WelcomeEmailSent;
    const EMITS: Kind = Kind::MarketingNotified;
    const TIMEOUT_SECONDS: u32 = mail::STEP_TIMEOUT_SECONDS;
    type Input = Input;

    fn read(input: Input, environment: &Environment, cause: &Cause) -> Result<Self> {
        let Input { customer, tier, .. } = input;
        let email = Rules::of(environment)?.address("PRIMARY_EMAIL", &input.email)?;
        let id = message_id(&cause.id, Self::NAME, customer.id);
        let mail = welcome::mail(id, &customer.name, email, tier)?;
        Ok(Self { customer, tier, mail, mailer: Mailer::new(input.mail)? })
    }

    fn customer(&self) -> Uuid {
        self.customer.id
    }

    fn effects(&self) -> Vec<Effect<'_>> {
        vec![Effect::mail("mail", &self.mailer, &self.mail)]
    }

    async fn record(&self, database: &mut Connection, _: &Receipts, report: &mut Report) -> Announced {
        report.set("message_id", self.mail.message_id.as_str());
        mail::record(database, &self.mail.message_id, self.customer.id, "welcome").await?;
        let users =
            Statement::new("SELECT COUNT(*) FROM users WHERE saved_at IS NOT NULL AND customer_id = ");
        let user_count = database.select_one(users.value(self.customer.id)).await?;
        let user_count = user_count.map_or(Ok(0), |row| row.integer(0))?;
        self.customer.next(self.tier, json!({ "user_count": user_count }))
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
        ("PRIMARY_EMAIL", "Ann@X.io"),
        ("MAIL_DIR", "/nowhere"),
    ]);

    fn read(changes: &[(&str, &str)]) -> Result<SendWelcomeEmail> {
        VALID.read(changes)
    }

    #[test]
    fn bad_input_is_refused_for_good() {
        VALID.refuses_bad_input::<SendWelcomeEmail>(&[
            ("PRIMARY_EMAIL", "ann"),
            ("PRIMARY_EMAIL", "ann@x.io, eve@x.io"),
        ]);
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        VALID.each_ends_with::<SendWelcomeEmail>(78, &[("PRIMARY_EMAIL", ""), ("MAIL_DIR", "")]);
    }

    #[test]
    fn the_customer_is_known_by_its_id_or_name() {
        VALID.is_about_a_customer::<SendWelcomeEmail>(&["PRIMARY_EMAIL", "SUBSCRIPTION_TIER"]);
    }

    #[test]
    fn a_repeat_sends_the_same_mail() {
        let mail = |event| read(&[("EVENT_ID", event)]).unwrap().mail;
        assert_eq!(mail("e1"), mail("e1"));
        assert_ne!(mail("e1").message_id, mail("e2").message_id);
        assert_eq!(mail("e1").to.1.as_str(), "ann@x.io");
    }
}
