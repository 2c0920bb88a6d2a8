//! The rows of the touchpoints, and of the customer that is onboarded with them.

use chrono::{DateTime, Utc};
use shared::database::{Connection, Failure, Statement};
use shared::{Result, Uuid};

use crate::schedule::Touchpoints;

/// Writes the plan. If another event about the same customer has already made one, that plan stays.
pub(crate) async fn insert(
    database: &mut Connection,
    customer: Uuid,
    days: &Touchpoints,
    crm_id: Option<&str>,
    now: DateTime<Utc>,
) -> Result<()> {
    let insert = Statement::new(
        "INSERT INTO touchpoints (customer_id, welcome_outreach, technical_onboarding, follow_up_call, \
         feedback_session, crm_id, created_at) VALUES ",
    )
    .row([
        customer.into(),
        days.welcome_outreach.into(),
        days.technical_onboarding.into(),
        days.follow_up_call.into(),
        days.feedback_session.into(),
        crm_id.into(),
        now.into(),
    ]);
    match database.run(insert).await {
        Ok(_) | Err(Failure::Duplicate(_)) => Ok(()),
        Err(Failure::Other(error)) => Err(error),
    }
}

/// Records that the customer is onboarded. Returns when it was registered, if that is known.
pub(crate) async fn onboarded(
    database: &mut Connection,
    customer: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    let started = Statement::new("SELECT started_at FROM customers WHERE id = ").value(customer);
    let started = database.select_one(started).await?;
    let note = Statement::new("UPDATE customers SET onboarded_at = COALESCE(onboarded_at, ").value(now);
    database.run(note.sql(") WHERE id = ").value(customer)).await?;
    started.map(|row| row.time(0)).transpose()
}
