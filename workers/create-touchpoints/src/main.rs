//! Creates the customer's CRM touchpoints, and posts them to the CRM where one is configured. The flow ends here.
//!
//! Reads `CUSTOMER_ID`, `CUSTOMER_NAME`, `SUBSCRIPTION_TIER`, `WELCOME_OUTREACH_DATE` and `schedule.json`; posts to `CRM_API_URL`; writes
//! `touchpoints`, `customers`; emits `customer-onboarded`.

mod schedule;

use std::process::ExitCode;

use chrono::{DateTime, NaiveDate, Utc};
use schedule::Touchpoints;
use serde::Deserialize;
use serde_json::json;
use shared::config::{Environment, Secret};
use shared::customer::{self, Tier};
use shared::database::{Connection, Failure};
use shared::event::{Announcement, Cause, Kind, derive_id, timestamp};
use shared::http::{Client, Endpoint, answered_id};
use shared::telemetry::Report;
use shared::{Error, Result, Step, Uuid};

fn main() -> ExitCode {
    shared::run::<CreateTouchpoints>()
}

#[derive(Deserialize)]
struct Input {
    customer_name: String,
    subscription_tier: String,
    welcome_outreach_date: Option<String>,
    crm_api_url: Option<String>,
    crm_api_token: Option<Secret>,
}

struct CreateTouchpoints {
    customer: Uuid,
    name: String,
    tier: Tier,
    touchpoints: Touchpoints,
    crm: Option<(Client, Endpoint)>,
    event_time: DateTime<Utc>,
}

impl Step for CreateTouchpoints {
    const NAME: &'static str = "create-touchpoints";
    const ABOUT: &'static str = "creates the customer's CRM touchpoints; the flow ends here";
    const TRIGGER: Kind = Kind::TouchpointsCreated;
    const EMITS: Kind = Kind::CustomerOnboarded;
    const VARIABLES: &'static [(&'static str, &'static str)] = &[
        ("CUSTOMER_ID", "UUID; derived from CUSTOMER_NAME where it is missing"),
        ("CUSTOMER_NAME", "1 to 64 characters"),
        ("SUBSCRIPTION_TIER", "basic, groovy or far-out"),
        ("WELCOME_OUTREACH_DATE", "a day such as 2025-10-13; the event's day where it is missing"),
    ];
    const SETTINGS: &'static [(&'static str, &'static str)] = &[
        ("CRM_API_URL", "the CRM's address for touchpoints; nothing is posted while it is missing"),
        ("CRM_API_TOKEN", "its bearer token"),
        ("HTTP_CA", "a PEM file of a private authority"),
    ];
    const ACTS: bool = true;
    type Receipt = Option<String>;

    fn read(environment: &Environment, cause: &Cause) -> Result<Self> {
        let input: Input = environment.read()?;
        let customer = customer::id_or_derived(environment, "customer", &["CUSTOMER_NAME"])?;
        let tier: Tier = input.subscription_tier.parse()?;
        let event_time = cause.time.unwrap_or_else(Utc::now);
        let outreach = match &input.welcome_outreach_date {
            None => event_time.date_naive(),
            Some(day) => day.parse::<NaiveDate>().map_err(|error| {
                Error::input("WELCOME_OUTREACH_DATE is not a day such as 2025-10-13").because(error)
            })?,
        };
        let crm = match &input.crm_api_url {
            None => None,
            Some(url) => {
                Some((Client::read(environment)?, Endpoint::new("CRM_API_URL", url, input.crm_api_token)?))
            }
        };
        Ok(Self {
            customer,
            name: customer::name("CUSTOMER_NAME", &input.customer_name)?,
            tier,
            touchpoints: Touchpoints::plan(tier, outreach)?,
            crm,
            event_time,
        })
    }

    fn customer(&self) -> Uuid {
        self.customer
    }

    async fn act(&self, report: &mut Report) -> Result<Option<String>> {
        let Some((client, crm)) = &self.crm else { return Ok(None) };
        let key = derive_id(&format!("touchpoints\n{}", self.customer)).to_string();
        let body = json!({
            "customer_id": self.customer,
            "customer_name": self.name,
            "subscription_tier": self.tier,
            "touchpoints": self.touchpoints,
        });
        let answer = client.post(crm, &key, &body).await?;
        let crm_id = answered_id(&answer, &["id"]);
        report.set("crm_id", crm_id.clone());
        Ok(crm_id)
    }

    async fn record(
        &self,
        database: &mut Connection,
        crm_id: Option<String>,
        _: &mut Report,
    ) -> Result<Vec<Announcement>> {
        let now = Utc::now();
        self.insert(database, crm_id.as_deref(), now).await?;
        let customer = self.customer.into();
        let started = database.row("SELECT started_at FROM customers WHERE id = ?", &[customer]).await?;
        let started_at = started.map_or(Ok(self.event_time), |row| row.time(0))?;
        database
            .execute(
                "UPDATE customers SET onboarded_at = COALESCE(onboarded_at, ?) WHERE id = ?",
                &[now.into(), self.customer.into()],
            )
            .await?;
        let data = json!({
            "customer_name": self.name,
            "subscription_tier": self.tier,
            "started_at": timestamp(started_at),
            "finished_at": timestamp(now),
        });
        Ok(vec![Announcement { subject: self.customer, data }])
    }
}

impl CreateTouchpoints {
    async fn insert(
        &self,
        database: &mut Connection,
        crm_id: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let days = &self.touchpoints;
        let inserted = database
            .execute(
                "INSERT INTO touchpoints (customer_id, welcome_outreach, technical_onboarding, follow_up_call, \
                 feedback_session, crm_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                &[
                    self.customer.into(),
                    days.welcome_outreach.into(),
                    days.technical_onboarding.into(),
                    days.follow_up_call.into(),
                    days.feedback_session.into(),
                    crm_id.into(),
                    now.into(),
                ],
            )
            .await;
        match inserted {
            // Another event about the same customer: the plan that is made stands.
            Ok(_) | Err(Failure::Duplicate(_)) => Ok(()),
            Err(Failure::Other(error)) => Err(error),
        }
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
        ("WELCOME_OUTREACH_DATE", "2025-10-13"),
        ("EVENT_TIME", "2025-10-06T09:00:00Z"),
    ];

    /// Reads the valid input with these changes; an empty value takes a variable away.
    fn read(changes: &[(&str, &str)]) -> Result<CreateTouchpoints> {
        let variables: BTreeMap<&str, &str> = VALID.iter().chain(changes).copied().collect();
        let environment = Environment::from_pairs(variables);
        let cause = Cause::read(&environment, CreateTouchpoints::NAME, &[])?;
        CreateTouchpoints::read(&environment, &cause)
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
            ("WELCOME_OUTREACH_DATE", "13.10.2025"),
            ("WELCOME_OUTREACH_DATE", "+262142-12-29"),
        ];
        for change in bad {
            assert_eq!(exit_code(&[change]), 65, "{change:?}");
        }
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        for name in ["CUSTOMER_NAME", "SUBSCRIPTION_TIER"] {
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
    fn a_wrong_address_of_the_crm_is_a_configuration_error() {
        assert_eq!(exit_code(&[("CRM_API_URL", "crm")]), 78);
    }

    #[test]
    fn the_outreach_is_on_the_events_day_where_none_is_given() {
        let outreach = |day| read(&[("WELCOME_OUTREACH_DATE", day)]).unwrap().touchpoints.welcome_outreach;
        assert_eq!(outreach("2025-10-13").to_string(), "2025-10-13");
        assert_eq!(outreach("").to_string(), "2025-10-06");
    }

    #[test]
    fn the_crm_is_optional() {
        assert!(read(&[]).unwrap().crm.is_none());
        assert!(read(&[("CRM_API_URL", "https://crm.example/touchpoints")]).unwrap().crm.is_some());
    }
}
