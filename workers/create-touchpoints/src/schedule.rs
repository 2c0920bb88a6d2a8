//! When a customer is contacted: days after the welcome outreach, per tier, from `schedule.json`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::{Datelike, Days, NaiveDate};
use serde::{Deserialize, Serialize};
use shared::calendar::working_day;
use shared::customer::{Customer, Tier};
use shared::prelude::*;

/// The latest year that a date column holds in all our databases, with room for the weekend after.
const YEARS: RangeInclusive<i32> = 1000..=9998;
const SCHEDULE: &str = include_str!("../schedule.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offsets {
    technical_onboarding: u64,
    follow_up_call: u64,
    feedback_session: u64,
}

/// The days of the touchpoints, all working days.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Touchpoints {
    pub(crate) welcome_outreach: NaiveDate,
    pub(crate) technical_onboarding: NaiveDate,
    pub(crate) follow_up_call: NaiveDate,
    pub(crate) feedback_session: NaiveDate,
}

impl Touchpoints {
    /// The data for the CRM.
    pub(crate) fn post(&self, customer: &Customer, tier: Tier) -> Value {
        json!({
            "customer_id": customer.id,
            "customer_name": customer.name,
            "subscription_tier": tier,
            "touchpoints": self,
        })
    }

    /// The plan for a tier whose welcome outreach is on this day.
    pub(crate) fn plan(tier: Tier, outreach: NaiveDate) -> Result<Self> {
        let mut schedule: BTreeMap<String, Offsets> = serde_json::from_str(SCHEDULE)
            .map_err(|error| Error::bug("schedule.json cannot be read").because(error))?;
        let offsets = schedule
            .remove(tier.as_str())
            .ok_or_else(|| Error::bug(format!("schedule.json has no entry for {tier}")))?;
        let day = |after: u64| {
            let day = outreach.checked_add_days(Days::new(after)).filter(|day| YEARS.contains(&day.year()));
            day.map(working_day)
                .ok_or_else(|| Error::input("WELCOME_OUTREACH_DATE is too far in the past or future"))
        };
        Ok(Self {
            welcome_outreach: outreach,
            technical_onboarding: day(offsets.technical_onboarding)?,
            follow_up_call: day(offsets.follow_up_call)?,
            feedback_session: day(offsets.feedback_session)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::Weekday;

    use super::*;

    #[test]
    fn every_tier_has_a_plan_of_working_days_in_order() {
        let outreach = "2025-10-13".parse().unwrap();
        for &tier in Tier::ALL {
            let plan = Touchpoints::plan(tier, outreach).unwrap();
            let days = [plan.technical_onboarding, plan.follow_up_call, plan.feedback_session];
            assert!(outreach < days[0] && days.is_sorted(), "{tier}: {plan:?}");
            assert!(days.iter().all(|day| !matches!(day.weekday(), Weekday::Sat | Weekday::Sun)), "{plan:?}");
        }
    }

    #[test]
    fn both_ends_of_time_are_bad_input() {
        for day in [NaiveDate::MAX, NaiveDate::MIN, "9999-01-01".parse().unwrap()] {
            let error = Touchpoints::plan(Tier::Basic, day).unwrap_err();
            assert_eq!(error.class().exit_code(), 65, "{day}");
        }
    }
}
