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
use shared::http::{Client, Endpoint};
use shared::telemetry::Report;
use shared::{Error, Result, Step, Uuid};

fn main() -> ExitCode {
    shared::run::<CreateTouchpoints>()
}

#[derive(Deserialize)]
struct Input {
    customer_id: Option<String>,
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
        ("CUSTOMER_ID", "UUID; derived from the customer's name where it is missing"),
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
        let customer = match &input.customer_id {
            Some(id) => customer::id("CUSTOMER_ID", id)?,
            None => environment.identity("customer", &["CUSTOMER_NAME"]),
        };
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
        let crm_id = answer["id"]
            .as_str()
            .map(|id| id.chars().take(schedule::MAX_CRM_ID_CHARACTERS).collect::<String>());
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
