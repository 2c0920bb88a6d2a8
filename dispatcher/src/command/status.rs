//! `dispatcher status`: where each customer is, from the ledger of handled events and the dead letters.

use std::collections::BTreeMap;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::config::Environment;
use shared::database::{Connection, Settings};
use shared::error::{Error, Result};

use super::output::Output;
use super::{bus_access, print};
use crate::bus::Filter;
use crate::logging::masked;

/// Where each customer is, what is stuck and why
#[derive(clap::Args)]
#[command(after_help = "Reads DATABASE_URL, or DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME.")]
pub(super) struct Arguments {
    #[command(flatten)]
    bus: crate::bus::Settings,
    /// A customer's id, or part of its name
    customer: Option<String>,
    /// At most so many customers, the latest first
    #[arg(long, default_value = "50")]
    limit: i64,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

struct Customer {
    id: String,
    name: String,
    tier: String,
    started_at: DateTime<Utc>,
    onboarded_at: Option<DateTime<Utc>>,
    steps: BTreeMap<String, (i64, DateTime<Utc>)>,
    dead: Option<String>,
}

impl Customer {
    fn state(&self) -> &'static str {
        match (&self.dead, self.onboarded_at) {
            (_, Some(_)) => "onboarded",
            (Some(_), None) => "stuck",
            (None, None) => "under way",
        }
    }

    fn last(&self) -> Option<(&str, DateTime<Utc>)> {
        self.steps.iter().max_by_key(|(_, (_, at))| *at).map(|(step, (_, at))| (step.as_str(), *at))
    }
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    let mut database = Settings::read(&Environment::from_process()?)?.connect().await?;
    let mut customers = customers(&mut database, arguments.customer.as_deref(), arguments.limit).await?;
    if customers.is_empty()
        && let Some(wanted) = &arguments.customer
    {
        return Err(Error::input(format!("no customer has the id or name {:?}", print::plain(wanted))));
    }
    let bus_problem = dead_letters(&arguments.bus, &mut customers).await.err();
    if arguments.output == Output::Json {
        for one in &customers {
            let steps: BTreeMap<_, _> = one
                .steps
                .iter()
                .map(|(step, (count, at))| (step, json!({"count": count, "last": at})))
                .collect();
            print::line(json!({
                "id": one.id, "name": one.name, "subscription_tier": one.tier, "state": one.state(),
                "started_at": one.started_at, "onboarded_at": one.onboarded_at, "steps": steps, "dead_letter": one.dead,
            }).to_string());
        }
    } else {
        let rows: Vec<_> = customers.iter().map(row).collect();
        print::table(&["CUSTOMER", "NAME", "TIER", "STATE", "LAST STEP", "SINCE", "WHY"], &rows);
    }
    if let Some(error) = bus_problem {
        drop(std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("dead letters are not shown: {error}\n"),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(one: &Customer) -> Vec<String> {
    let (step, since) = one.last().unwrap_or(("registered", one.started_at));
    vec![
        one.id.clone(),
        print::plain(&one.name),
        one.tier.clone(),
        one.state().to_owned(),
        step.to_owned(),
        since.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        one.dead.as_deref().map(|why| print::plain(&masked(why))).unwrap_or_default(),
    ]
}

async fn customers(database: &mut Connection, wanted: Option<&str>, limit: i64) -> Result<Vec<Customer>> {
    let sql = "SELECT id, name, subscription_tier, started_at, onboarded_at FROM customers \
               WHERE ? = '' OR id = ? OR name LIKE ? ORDER BY started_at DESC LIMIT ?";
    let text = wanted.unwrap_or_default();
    let like = format!("%{}%", text.replace('%', "\\%").replace('_', "\\_"));
    let rows = database.rows(sql, &[text.into(), text.into(), like.as_str().into(), limit.into()]).await?;
    let mut customers = Vec::with_capacity(rows.len());
    for row in &rows {
        let id = row.text(0)?;
        let steps =
            "SELECT step, COUNT(*), MAX(handled_at) FROM handled_events WHERE customer_id = ? GROUP BY step";
        let mut done = BTreeMap::new();
        for step in database.rows(steps, &[id.as_str().into()]).await? {
            done.insert(step.text(0)?, (step.integer(1)?, step.time(2)?));
        }
        customers.push(Customer {
            id,
            name: row.text(1)?,
            tier: row.text(2)?,
            started_at: row.time(3)?,
            onboarded_at: row.optional_time(4)?,
            steps: done,
            dead: None,
        });
    }
    Ok(customers)
}

/// The last dead letter of each customer.
async fn dead_letters(bus: &crate::bus::Settings, customers: &mut [Customer]) -> Result<()> {
    let bus = bus_access::visit(bus).await?;
    let mut filter = Filter::default();
    loop {
        let page = bus.dead_letters(&filter).await.map_err(bus_access::failed)?;
        for letter in &page.letters {
            if let Some(one) = customers.iter_mut().find(|one| one.id == letter.info.customer) {
                one.dead = Some(format!(
                    "dead letter {} ({}): {}",
                    letter.number, letter.subject, letter.info.reason
                ));
            }
        }
        match page.next {
            Some(next) => filter.after = next,
            None => return Ok(()),
        }
    }
}
