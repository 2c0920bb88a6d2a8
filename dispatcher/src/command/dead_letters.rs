//! `dispatcher dead-letters`: what could not be handled, as a product.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use shared::config::Environment;
use shared::error::{Error, Result};

use super::output::Output;
use super::{bus_access, print};
use crate::bus::{Bus, DeadLetter, Filter};
use crate::history::{History, Keep};
use crate::logging::masked;
use crate::operator::{self, Operator, Verb as Act};
use crate::server::view;

/// List, show, replay and drop what could not be handled
#[derive(clap::Args)]
#[command(
    after_help = "What is replayed or dropped is written down in the database of DATABASE_URL, or of DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and \
    DB_NAME, under the name in USER; without one nowhere.\n\nExamples:\n  dispatcher dead-letters list --reason timeout\n  dispatcher dead-letters show 7\n  \
    dispatcher dead-letters replay 7\n  dispatcher dead-letters replay --all --subject swag-ordered"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// One line each, oldest first
    List {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// One whole: reason, attempts, the Job's words, headers and bytes
    Show {
        #[command(flatten)]
        common: Common,
        /// Its number
        number: u64,
    },
    /// Publish again on the first subject, and remove
    Replay {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Remove for good
    Drop {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        chosen: Chosen,
    },
}

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    bus: crate::bus::Settings,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(clap::Args)]
struct Wanted {
    /// Only of this subject
    #[arg(long)]
    subject: Option<String>,
    /// Only where this text occurs in the customer or the event
    #[arg(long)]
    customer: Option<String>,
    /// Only where this text occurs in the reason or the Job's words
    #[arg(long)]
    reason: Option<String>,
}

#[derive(clap::Args)]
struct Chosen {
    /// Their numbers
    #[arg(required_unless_present = "all")]
    numbers: Vec<u64>,
    /// All that match
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
    #[command(flatten)]
    wanted: Wanted,
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    match arguments.verb {
        Verb::List { common, wanted } => list(&common, wanted).await?,
        Verb::Show { common, number } => show(&common, number).await?,
        Verb::Replay { common, chosen } => act(&common, chosen, Act::Replay).await?,
        Verb::Drop { common, chosen } => act(&common, chosen, Act::Drop).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What was done before an error stays done, and written down.
async fn act(common: &Common, chosen: Chosen, verb: Act) -> Result<()> {
    let bus = bus_access::visit(&common.bus).await?;
    let history = History::configured(&Environment::from_process()?, Keep::days(1))?;
    let name = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let operator =
        Operator { name: name.unwrap_or_else(|| "unknown".to_owned()), address: "command line".to_owned() };
    let numbers = numbers(&bus, chosen).await?;
    for &number in &numbers {
        let done = operator::act(&bus, history.as_ref(), &operator, verb, number).await;
        done.map_err(bus_access::failed)?.ok_or_else(|| none(number))?;
    }
    let said = if verb == Act::Replay { "replayed" } else { "dropped" };
    match common.output {
        Output::Json => print::line(json!({ said: numbers }).to_string()),
        Output::Text => print::line(format!("{} {said}", numbers.len())),
    }
    Ok(())
}

fn none(number: u64) -> Error {
    Error::input(format!("there is no dead letter {number}"))
}

async fn list(common: &Common, wanted: Wanted) -> Result<()> {
    let bus = bus_access::visit(&common.bus).await?;
    let json = common.output == Output::Json;
    let mut rows = Vec::new();
    pages(&bus, wanted, json, |letters| {
        for letter in letters {
            if json {
                print::line(view(&letter).to_string());
            } else {
                rows.push(row(&letter));
            }
        }
    })
    .await?;
    if json {
        return Ok(());
    }
    if rows.is_empty() {
        print::line("no dead letters");
        return Ok(());
    }
    print::table(&["NUMBER", "FAILED", "SUBJECT", "CUSTOMER", "ATTEMPTS", "CLASS", "REASON"], &rows);
    Ok(())
}

fn row(letter: &DeadLetter) -> Vec<String> {
    let reason: String = print::plain(&masked(&letter.info.reason)).chars().take(100).collect();
    vec![
        letter.number.to_string(),
        letter.failed_at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        print::plain(&letter.subject),
        print::plain(&letter.info.customer).chars().take(36).collect(),
        letter.attempts.to_string(),
        print::plain(&letter.info.class),
        reason,
    ]
}

async fn show(common: &Common, number: u64) -> Result<()> {
    let bus = bus_access::visit(&common.bus).await?;
    let letter =
        bus.dead_letter_by_number(number).await.map_err(bus_access::failed)?.ok_or_else(|| none(number))?;
    let text = match common.output {
        Output::Json => view(&letter).to_string(),
        Output::Text => serde_json::to_string_pretty(&view(&letter)).unwrap_or_default(),
    };
    print::line(text);
    Ok(())
}

async fn numbers(bus: &Bus, chosen: Chosen) -> Result<Vec<u64>> {
    if !chosen.all {
        return Ok(chosen.numbers);
    }
    let mut numbers = Vec::new();
    pages(bus, chosen.wanted, false, |letters| numbers.extend(letters.iter().map(|letter| letter.number)))
        .await?;
    Ok(numbers)
}

/// Page by page: with their events they may be too large for all at once.
async fn pages(
    bus: &Bus,
    Wanted { subject, customer, reason }: Wanted,
    payloads: bool,
    mut each: impl FnMut(Vec<DeadLetter>),
) -> Result<()> {
    let limit = if payloads { 25 } else { 1000 };
    let mut filter = Filter { subject, customer, reason, payloads, limit, ..Filter::default() };
    loop {
        let page = bus.dead_letters(&filter).await.map_err(bus_access::failed)?;
        each(page.letters);
        match page.next {
            Some(next) => filter.after = next,
            None => return Ok(()),
        }
    }
}
