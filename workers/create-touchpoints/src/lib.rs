//! Creates the customer's CRM touchpoints, and posts them to the CRM if one is configured. The flow ends here.
//!
//! Reads `schedule.json`; posts to the CRM; writes `touchpoints`, `customers`; emits `customer-onboarded`.

mod rows;
mod schedule;

use chrono::{DateTime, NaiveDate, Utc};
use schedule::Touchpoints;
use shared::config::Secret;
use shared::customer::{Customer, Tier};
use shared::event::{derive_id, timestamp};
use shared::http::{self, Endpoint, GoodAnswer, Post};
use shared::prelude::*;

shared::worker!(CreateTouchpoints);

shared::variables! {
    struct Input {
        job {
            tier: Tier = "SUBSCRIPTION_TIER", "basic, groovy or far-out";
            outreach: Option<NaiveDate> = "WELCOME_OUTREACH_DATE", "a day such as 2025-10-13; the event's day where it is missing";
        }
        settings {
            crm: Option<Secret> = "CRM_API_URL", "the CRM's address for touchpoints; nothing is posted while it is missing";
            token: Option<Secret> = "CRM_API_TOKEN", "its bearer token";
            yes: Option<GoodAnswer> = "CRM_API_ANSWER", "what a good answer contains, if not the usual: any, /field=value or a text";
        }
        groups { customer: Customer; http: http::Settings; }
    }
}

struct CreateTouchpoints {
    customer: Customer,
    tier: Tier,
    touchpoints: Touchpoints,
    post: Option<Post>,
    event_time: DateTime<Utc>,
}

impl Step for CreateTouchpoints {
    const ABOUT: &'static str = "creates the customer's CRM touchpoints; the flow ends here";
    const TRIGGER: Kind = Kind::TouchpointsCreated;
    const EMITS: Kind = Kind::CustomerOnboarded;
    const TIMEOUT_SECONDS: u32 = 120;
    type Input = Input;

    fn read(input: Input, _: &Environment, cause: &Cause) -> Result<Self> {
        let Input { customer, tier, token, yes, http, .. } = input;
        let event_time = cause.time.unwrap_or_else(Utc::now);
        let touchpoints = Touchpoints::plan(tier, input.outreach.unwrap_or_else(|| event_time.date_naive()))?;
        let post = |url| -> Result<Post> {
            let to = Endpoint::new("CRM_API_URL", &url, token)?.saying(yes);
            let key = derive_id(&format!("touchpoints\n{}", customer.id));
            Post::new(&http, to, &key, touchpoints.post(&customer, tier), &["id"])
        };
        Ok(Self { post: input.crm.map(post).transpose()?, customer, tier, touchpoints, event_time })
    }

    fn customer(&self) -> Uuid {
        self.customer.id
    }

    fn effects(&self) -> Vec<Effect<'_>> {
        self.post.iter().map(|post| Effect::post("touchpoints", post)).collect()
    }

    async fn record(&self, database: &mut Connection, receipts: &Receipts, report: &mut Report) -> Announced {
        let crm_id = receipts.id("touchpoints");
        if receipts.has("touchpoints") {
            report.set("crm_id", crm_id);
        }
        let now = Utc::now();
        rows::insert(database, self.customer.id, &self.touchpoints, crm_id, now).await?;
        let started_at = rows::onboarded(database, self.customer.id, now).await?.unwrap_or(self.event_time);
        let times = json!({ "started_at": timestamp(started_at), "finished_at": timestamp(now) });
        self.customer.next(self.tier, times)
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
        ("WELCOME_OUTREACH_DATE", "2025-10-13"),
        ("EVENT_TIME", "2025-10-06T09:00:00Z"),
    ]);

    fn read(changes: &[(&str, &str)]) -> Result<CreateTouchpoints> {
        VALID.read(changes)
    }

    #[test]
    fn bad_input_is_refused_for_good() {
        VALID.refuses_bad_input::<CreateTouchpoints>(&[
            ("WELCOME_OUTREACH_DATE", "13.10.2025"),
            ("WELCOME_OUTREACH_DATE", "+262142-12-29"),
        ]);
    }

    #[test]
    fn the_customer_is_known_by_its_id_or_name() {
        VALID.is_about_a_customer::<CreateTouchpoints>(&["SUBSCRIPTION_TIER", "WELCOME_OUTREACH_DATE"]);
    }

    #[test]
    fn a_wrong_address_of_the_crm_is_a_configuration_error() {
        VALID.each_ends_with::<CreateTouchpoints>(78, &[("CRM_API_URL", "crm")]);
    }

    #[test]
    fn the_outreach_is_on_the_events_day_where_none_is_given() {
        let outreach = |day| read(&[("WELCOME_OUTREACH_DATE", day)]).unwrap().touchpoints.welcome_outreach;
        assert_eq!(outreach("2025-10-13").to_string(), "2025-10-13");
        assert_eq!(outreach("").to_string(), "2025-10-06");
    }

    #[test]
    fn the_crm_is_optional() {
        assert!(read(&[]).unwrap().post.is_none());
        assert_eq!(read(&[("CRM_API_URL", "https://crm.example/touchpoints")]).unwrap().effects().len(), 1);
    }
}
