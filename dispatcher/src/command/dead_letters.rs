//! `dispatcher dead-letters`: what could not be handled, as a product.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use shared::error::{Error, Result};

use super::output::Output;
use super::{bus_access, print};
use crate::bus::{Bus, DeadLetter, Filter};
use crate::logging::masked;
use crate::server::view;

/// List, show, replay and drop what could not be handled
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  dispatcher dead-letters list --reason timeout\n  dispatcher dead-letters show 7\n  \
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
        Verb::Replay { common, chosen } => {
            let bus = bus_access::visit(&common.bus).await?;
            let numbers = numbers(&bus, chosen).await?;
            for &number in &numbers {
                bus.replay(number).await.map_err(bus_access::failed)?.ok_or_else(|| none(number))?;
            }
            said(&common, "replayed", &numbers);
        }
        Verb::Drop { common, chosen } => {
            let bus = bus_access::visit(&common.bus).await?;
            let numbers = numbers(&bus, chosen).await?;
            for &number in &numbers {
                if !bus.drop_dead_letter(number).await.map_err(bus_access::failed)? {
                    return Err(none(number));
                }
            }
            said(&common, "dropped", &numbers);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn said(common: &Common, verb: &str, numbers: &[u64]) {
    match common.output {
        Output::Json => print::line(json!({ verb: numbers }).to_string()),
        Output::Text => print::line(format!("{} {verb}", numbers.len())),
    }
}

fn none(number: u64) -> Error {
    Error::input(format!("there is no dead letter {number}"))
}

async fn list(common: &Common, wanted: Wanted) -> Result<()> {
    let bus = bus_access::visit(&common.bus).await?;
    let letters = all(&bus, wanted).await?;
    if common.output == Output::Json {
        for letter in &letters {
            print::line(view(letter).to_string());
        }
        return Ok(());
    }
    if letters.is_empty() {
        print::line("no dead letters");
        return Ok(());
    }
    let rows: Vec<_> = letters.iter().map(row).collect();
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
    Ok(all(bus, chosen.wanted).await?.iter().map(|letter| letter.number).collect())
}

async fn all(bus: &Bus, wanted: Wanted) -> Result<Vec<DeadLetter>> {
    let Wanted { subject, customer, reason } = wanted;
    let mut filter = Filter { subject, customer, reason, ..Filter::default() };
    let mut letters = Vec::new();
    loop {
        let page = bus.dead_letters(&filter).await.map_err(bus_access::failed)?;
        letters.extend(page.letters);
        match page.next {
            Some(next) => filter.after = next,
            None => return Ok(letters),
        }
    }
}
