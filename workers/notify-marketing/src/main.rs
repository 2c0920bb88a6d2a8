//! Tells the marketing team about the new customer: by webhook, by e-mail, or both, whichever is configured.
//!
//! Reads `CUSTOMER_ID`, `CUSTOMER_NAME`, `SUBSCRIPTION_TIER`, `USER_COUNT`; posts and mails; writes `sent_mails`; emits `swag-ordered`.

mod note;

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json};
use shared::config::Environment;
use shared::customer::{self, Tier};
use shared::database::Connection;
use shared::event::{Announcement, Cause, Kind};
use shared::http::{Client, Endpoint};
use shared::mail::{self, Mail, Mailer, message_id};
use shared::telemetry::Report;
use shared::{Error, Result, Step, Uuid};

fn main() -> ExitCode {
    shared::run::<NotifyMarketing>()
}

#[derive(Deserialize)]
struct Input {
    customer_name: String,
    subscription_tier: String,
    user_count: Option<String>,
    marketing_webhook_url: Option<String>,
    marketing_email: Option<String>,
}

struct NotifyMarketing {
    customer: Uuid,
    name: String,
    tier: Tier,
    webhook: Option<Webhook>,
    mail: Option<(Mailer, Mail)>,
}

struct Webhook {
    client: Client,
    endpoint: Endpoint,
    key: String,
    body: Value,
}

impl Step for NotifyMarketing {
    const NAME: &'static str = "notify-marketing";
    const ABOUT: &'static str = "tells the marketing team about the new customer";
    const TRIGGER: Kind = Kind::MarketingNotified;
    const EMITS: Kind = Kind::SwagOrdered;
    const VARIABLES: &'static [(&'static str, &'static str)] = &[
        ("CUSTOMER_ID", "UUID; derived from CUSTOMER_NAME where it is missing"),
        ("CUSTOMER_NAME", "1 to 64 characters"),
        ("SUBSCRIPTION_TIER", "basic, groovy or far-out"),
        ("USER_COUNT", "how many users the customer has; not counted where it is missing"),
    ];
    const SETTINGS: &'static [(&'static str, &'static str)] = &[
        ("MARKETING_WEBHOOK_URL", "takes JSON with text and fields, as Slack does"),
        ("HTTP_CA", "a PEM file of a private authority"),
        ("MARKETING_EMAIL", "gets the note by mail"),
        mail::SETTINGS[0],
        mail::SETTINGS[1],
        mail::SETTINGS[2],
        mail::SETTINGS[3],
        mail::SETTINGS[4],
    ];
    const ACTS: bool = true;
    type Receipt = ();

    fn read(environment: &Environment, cause: &Cause) -> Result<Self> {
        let input: Input = environment.read()?;
        let customer = customer::id_or_derived(environment, "customer", &["CUSTOMER_NAME"])?;
        let name = customer::name("CUSTOMER_NAME", &input.customer_name)?;
        let tier: Tier = input.subscription_tier.parse()?;
        let user_count = match &input.user_count {
            None => None,
            Some(count) => {
                Some(count.parse::<u32>().map_err(|_| Error::input("USER_COUNT is not a whole number"))?)
            }
        };
        let note = note::Note { customer: &name, id: customer, tier, user_count };
        let message_id = message_id(&cause.id, Self::NAME, customer);
        let webhook = match &input.marketing_webhook_url {
            None => None,
            Some(url) => Some(Webhook {
                client: Client::read(environment)?,
                endpoint: Endpoint::new("MARKETING_WEBHOOK_URL", url, None)?,
                key: message_id.clone(),
                body: note.webhook(),
            }),
        };
        let mail = match &input.marketing_email {
            None => None,
            Some(address) => {
                let address = customer::email("MARKETING_EMAIL", address)
                    .map_err(|error| Error::configuration(error.to_string()))?;
                Some((Mailer::read(environment)?, note.mail(message_id, address)?))
            }
        };
        if webhook.is_none() && mail.is_none() {
            return Err(Error::configuration("neither MARKETING_WEBHOOK_URL nor MARKETING_EMAIL is set"));
        }
        Ok(Self { customer, name, tier, webhook, mail })
    }

    fn customer(&self) -> Uuid {
        self.customer
    }

    async fn act(&self, report: &mut Report) -> Result<()> {
        if let Some(Webhook { client, endpoint, key, body }) = &self.webhook {
            client.tell(endpoint, key, body).await?;
            report.set("webhook", true);
        }
        if let Some((mailer, mail)) = &self.mail {
            mailer.send(mail).await?;
            report.set("message_id", mail.message_id.as_str());
        }
        Ok(())
    }

    async fn record(&self, database: &mut Connection, (): (), _: &mut Report) -> Result<Vec<Announcement>> {
        if let Some((_, mail)) = &self.mail {
            mail::record(database, &mail.message_id, self.customer, "marketing").await?;
        }
        let sql = "SELECT shipping_address FROM customers WHERE id = ?";
        let address = match database.row(sql, &[self.customer.into()]).await? {
            Some(row) => row.optional_text(0)?,
            None => None,
        };
        let mut data = json!({ "customer_name": self.name, "subscription_tier": self.tier });
        if let Some(address) = address {
            data["shipping_address"] = customer::given_address(&address);
        }
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
        ("USER_COUNT", "3"),
        ("MARKETING_WEBHOOK_URL", "https://hooks.example/x"),
    ];

    /// Reads the valid input with these changes; an empty value takes a variable away.
    fn read(changes: &[(&str, &str)]) -> Result<NotifyMarketing> {
        let variables: BTreeMap<&str, &str> = VALID.iter().chain(changes).copied().collect();
        let environment = Environment::from_pairs(variables);
        let cause = Cause::read(&environment, NotifyMarketing::NAME, &[])?;
        NotifyMarketing::read(&environment, &cause)
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
            ("USER_COUNT", "many"),
            ("USER_COUNT", "-1"),
        ];
        for change in bad {
            assert_eq!(exit_code(&[change]), 65, "{change:?}");
        }
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        for name in ["CUSTOMER_NAME", "SUBSCRIPTION_TIER", "MARKETING_WEBHOOK_URL"] {
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
    fn wrong_settings_are_a_configuration_error() {
        assert_eq!(exit_code(&[("MARKETING_WEBHOOK_URL", "hooks")]), 78);
        assert_eq!(exit_code(&[("MARKETING_EMAIL", "team")]), 78);
        assert_eq!(exit_code(&[("MARKETING_EMAIL", "team@x.io")]), 78, "no way to send mail is set");
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
