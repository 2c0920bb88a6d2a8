//! `dispatcher status`: the state of the flow and of each customer, from the history that page and metrics also show.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use shared::config::Environment;
use shared::database::Settings;
use shared::error::{Error, Result};

use super::bus_access::BusArguments;
use super::number::whole;
use super::output::Output;
use super::planning::Planning;
use super::{bus_access, print};
use crate::manifest;
use crate::onboarding::step;
use crate::onboarding::{CustomerState, Customers, Stage, Stages, Wanted};
use crate::step_counts::{self, StepCounts};
use history::{History, Keep, Totals};
use job::masked;

/// Where the flow stands, where each customer is, what is stuck and why
#[derive(clap::Args)]
#[command(
    after_help = "Reads the history in the database of DATABASE_URL, or of DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME, and asks the bus."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    bus: BusArguments,
    /// A customer's id, or part of its name
    customer: Option<String>,
    /// Folder with the manifests: its triggers are the steps
    #[arg(long, env = "DISPATCHER_EVENTS", default_value = "events")]
    events: PathBuf,
    #[command(flatten)]
    planning: Planning,
    /// At most this many customers, stuck ones first
    #[arg(long, default_value = "50", value_parser = whole(0..=1_000_000_usize))]
    limit: usize,
    /// How to print; in JSON the first line is the flow, and each further one a customer
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    // How long runs are kept is decided by the dispatchers; this command only reads.
    let history = History::in_database(&Settings::read(&Environment::from_process()?)?, Keep::days(1));
    let all = Customers::new(history.clone());
    let text = arguments.customer.clone().unwrap_or_default();
    let wanted = Wanted { text: text.clone(), limit: arguments.limit, ..Wanted::default() };
    let customers = all.list(&wanted).await?;
    if customers.is_empty() && !text.is_empty() {
        return Err(Error::input(format!("no customer has the id or name {text:?}")));
    }
    let mut problems = Vec::new();
    if arguments.customer.is_none() {
        let (totals, stages) = tokio::try_join!(history.totals(), all.stages())?;
        let steps = steps(&arguments, &totals, &mut problems).await;
        show_flow(&steps, stages, arguments.output);
    }
    if arguments.output == Output::Json {
        for (one, _) in &customers {
            print::json(&line(one));
        }
    } else if !customers.is_empty() {
        let rows: Vec<_> = customers.iter().map(|(one, _)| row(one)).collect();
        print::table(&["CUSTOMER", "NAME", "TIER", "STATE", "STEP", "SINCE", "WHY"], &rows);
    }
    for problem in problems {
        print::problem(&problem);
    }
    Ok(ExitCode::SUCCESS)
}

/// The steps of the manifests. If something cannot be read, its counts are missing and the reason is printed.
async fn steps(arguments: &Arguments, totals: &Totals, problems: &mut Vec<String>) -> Vec<StepCounts> {
    let Ok(manifests) = manifest::load(&arguments.events) else {
        let folder = arguments.events.display();
        problems.push(format!(
            "steps are not shown: no manifests can be read in {folder}; name them by --events"
        ));
        return Vec::new();
    };
    let flow = step::flow(&manifests, &arguments.planning.cluster());
    let asked = async {
        let bus = bus_access::visit(&arguments.bus).await?;
        let (backlog, dead) = (bus.backlog().await, bus.dead_letter_counts().await);
        Ok((backlog.map_err(bus_access::failed)?, dead.map_err(bus_access::failed)?))
    };
    let (backlog, dead) = asked.await.unwrap_or_else(|error: Error| {
        problems.push(format!("what waits and dead letters are not counted: {error}"));
        Default::default()
    });
    step_counts::steps(&flow, &backlog, totals, &dead)
}

fn show_flow(steps: &[StepCounts], stages: Stages, output: Output) {
    let customers = Stage::ALL.map(|stage| (stage.as_str(), stages.count(stage)));
    if output == Output::Json {
        let counts = |step: &StepCounts| -> Value {
            let mut fields: Value = StepCounts::NAMES
                .into_iter()
                .zip(step.counts())
                .map(|(n, c)| (n.replace(' ', "_"), c))
                .collect();
            fields["trigger"] = step.trigger.as_str().into();
            fields["subject"] = step.subject.as_str().into();
            fields
        };
        let steps: Vec<_> = steps.iter().map(counts).collect();
        let customers: Value =
            customers.iter().map(|(name, count)| (name.replace(' ', "_"), *count)).collect();
        print::json(&json!({"steps": steps, "customers": customers}));
        return;
    }
    if !steps.is_empty() {
        let names = StepCounts::NAMES.map(str::to_uppercase);
        let head: Vec<_> = ["STEP", "EVENT"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let rows: Vec<Vec<String>> = steps
            .iter()
            .map(|step| {
                let counts = step.counts().map(|count| count.to_string());
                [step.name.clone(), step.subject.clone()].into_iter().chain(counts).collect()
            })
            .collect();
        print::table(&head, &rows);
        print::line("");
    }
    print::line(customers.map(|(name, count)| format!("{count} {name}")).join(", "));
    print::line("");
}

fn line(one: &CustomerState) -> Value {
    json!({
        "id": masked(&one.id), "name": masked(&one.name), "subscription_tier": one.tier, "state": one.stage.as_str(),
        "step": one.step, "since": one.changed_at, "why": one.reason.as_deref().map(masked), "started_at": one.started_at,
        "onboarded_at": one.onboarded_at, "done": one.done, "open": one.open, "failed": one.failed,
    })
}

fn row(one: &CustomerState) -> Vec<String> {
    vec![
        masked(&one.id).into_owned(),
        masked(&one.name).into_owned(),
        one.tier.clone(),
        one.stage.as_str().to_owned(),
        one.step.clone(),
        one.changed_at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        one.reason.as_deref().map(|why| masked(why).into_owned()).unwrap_or_default(),
    ]
}
