//! Tells the marketing team about the new customer: by webhook, by e-mail, or by both, as configured.
//!
//! Posts and mails; writes `sent_mails`; emits `swag-ordered`.

mod note;
mod rows;

use note::Note;
use shared::address::Rules;
use shared::config::Secret;
use shared::customer::{Customer, Tier};
use shared::http::{self, GoodAnswer, Post};
use shared::mail::{self, Mail, Mailer, message_id};
use shared::prelude::*;

shared::worker!(NotifyMarketing);

shared::variables! {
    struct Input {
        job {
            tier: Tier = "SUBSCRIPTION_TIER", "basic, groovy or far-out";
            user_count: Option<u32> = "USER_COUNT", "how many users the customer has; not counted where it is missing";
        }
        settings {
            webhook: Option<Secret> = "MARKETING_WEBHOOK_URL", "takes JSON with text and fields, as Slack does";
            yes: Option<GoodAnswer> = "MARKETING_WEBHOOK_ANSWER", "what a good answer contains, if not the usual: any, /field=value or a text";
            address: Option<Secret> = "MARKETING_EMAIL", "gets the note by mail";
        }
        groups { customer: Customer; http: http::Settings; mail: Result<mail::Settings>; }
    }
}

struct NotifyMarketing {
    customer: Customer,
    tier: Tier,
    webhook: Option<Post>,
    mail: Option<(Mailer, Mail)>,
}

impl Step for NotifyMarketing {
    const ABOUT: &'static str = "tells the marketing team about the new customer";
    const TRIGGER: Kind = Kind::MarketingNotified;
    const EMITS: Kind = Kind::SwagOrdered;
    const TIMEOUT_SECONDS: u32 = mail::STEP_TIMEOUT_SECONDS;
    type Input = Input;

    fn read(input: Input, environment: &Environment, cause: &Cause) -> Result<Self> {
        let Input { customer, tier, user_count, yes, http, mail, .. } = input;
        let note = Note { customer: &customer.name, id: customer.id, tier, user_count };
        let message_id = message_id(&cause.id, Self::NAME, customer.id);
        let webhook = input.webhook.map(|url| note.post(&http, &url, yes, &message_id)).transpose()?;
        let rules = || Rules::of(environment);
        let mail = input.address.map(|to| note.mail_to(rules()?, &to, mail?, &message_id)).transpose()?;
        if webhook.is_none() && mail.is_none() {
            return Err(Error::configuration("neither MARKETING_WEBHOOK_URL nor MARKETING_EMAIL is set"));
        }
        Ok(Self { customer, tier, webhook, mail })
    }

    fn customer(&self) -> Uuid {
        self.customer.id
    }

    fn effects(&self) -> Vec<Effect<'_>> {
        let webhook = self.webhook.iter().map(|post| Effect::post("webhook", post));
        webhook.chain(self.mail.iter().map(|(mailer, mail)| Effect::mail("mail", mailer, mail))).collect()
    }

    async fn record(&self, database: &mut Connection, receipts: &Receipts, report: &mut Report) -> Announced {
        if self.webhook.is_some() {
            report.set("webhook", true);
        }
        if let Some(message_id) = receipts.id("mail") {
            mail::record(database, message_id, self.customer.id, "marketing").await?;
            report.set("message_id", message_id);
        }
        self.customer.next(self.tier, rows::known_address(database, self.customer.id).await?)
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
        ("USER_COUNT", "3"),
        ("MARKETING_WEBHOOK_URL", "https://hooks.example/x"),
    ]);

    fn read(changes: &[(&str, &str)]) -> Result<NotifyMarketing> {
        VALID.read(changes)
    }

    #[test]
    fn bad_input_is_refused_for_good() {
        VALID.refuses_bad_input::<NotifyMarketing>(&[("USER_COUNT", "many"), ("USER_COUNT", "-1")]);
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        VALID.each_ends_with::<NotifyMarketing>(78, &[("MARKETING_WEBHOOK_URL", "")]);
    }

    #[test]
    fn the_customer_is_known_by_its_id_or_name() {
        VALID.is_about_a_customer::<NotifyMarketing>(&["SUBSCRIPTION_TIER", "USER_COUNT"]);
    }

    #[test]
    fn wrong_settings_are_a_configuration_error() {
        let wrong = [
            ("MARKETING_WEBHOOK_URL", "hooks"),
            ("MARKETING_EMAIL", "team"),
            ("MARKETING_EMAIL", "team@x.io"),
        ];
        VALID.each_ends_with::<NotifyMarketing>(78, &wrong);
    }

    #[test]
    fn settings_of_mail_matter_only_where_mail_is_sent() {
        assert_eq!(read(&[("SMTP_SERVER", "smtp://mail")]).unwrap().effects().len(), 1);
        let with_mail = [("SMTP_SERVER", "smtp://mail"), ("MARKETING_EMAIL", "team@x.io")];
        assert_eq!(VALID.exit_code::<NotifyMarketing>(&with_mail), 78);
    }

    #[test]
    fn whatever_is_configured_is_told() {
        let mail = [("MARKETING_EMAIL", "team@x.io"), ("MAIL_DIR", "/nowhere")];
        let both = read(&mail).unwrap();
        assert!(both.webhook.is_some() && both.mail.is_some());
        let alone = read(&[mail[0], mail[1], ("MARKETING_WEBHOOK_URL", "")]).unwrap();
        assert!(alone.webhook.is_none() && alone.mail.is_some());
    }

    #[test]
    fn the_users_need_not_be_counted() {
        let step = read(&[("USER_COUNT", "")]).unwrap();
        assert_eq!(step.webhook.unwrap().body["user_count"], Value::Null);
    }
}
