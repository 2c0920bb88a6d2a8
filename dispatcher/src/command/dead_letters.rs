//! `dispatcher dead-letters`: what could not be handled, as a product.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::json;
use shared::config::Environment;
use shared::error::{Error, Result};
use shared::visible;

use super::bus_access::BusArguments;
use super::number::whole;
use super::output::Output;
use super::{bus_access, print};
use crate::dead_letter_action::{self, Operator, Verb as Act};
use bus::{Bus, DeadLetter, Filter};
use history::{History, Keep};
use job::masked;

/// List, show, replay and drop what could not be handled
#[derive(clap::Args)]
#[command(
    after_help = "Replays and drops are recorded in the database of DATABASE_URL, or of DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and \
    DB_NAME, under the name in USER; without a database they are not recorded.\n\nExamples:\n  dispatcher dead-letters list --reason timeout\n  dispatcher dead-letters list --reason Unmatched\n  dispatcher dead-letters show 7\n  \
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
    /// One of them, whole: reason, attempts, the Job's message, headers and bytes
    Show {
        #[command(flatten)]
        common: Common,
        /// Its number
        #[arg(value_parser = whole(0..=u64::MAX))]
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
    bus: BusArguments,
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
    /// Only where this text occurs in the class, the reason or the Job's message
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
        Verb::Replay { common, chosen } => return act(&common, chosen, Act::Replay).await,
        Verb::Drop { common, chosen } => return act(&common, chosen, Act::Drop).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// How long all letters together wait for a bus that is away.
const PATIENCE: Duration = Duration::from_mins(1);

/// After this many letters in a row that the bus did not accept, the rest is not tried.
const MOST_AWAY: usize = 3;

/// Handles one letter after the other. A letter that fails stays, and the others are still handled.
async fn act(common: &Common, chosen: Chosen, verb: Act) -> Result<ExitCode> {
    let bus = bus_access::visit(&common.bus).await?;
    let history = History::configured(&Environment::from_process()?, Keep::days(1))?;
    let name = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let operator =
        Operator { name: name.unwrap_or_else(|| "unknown".to_owned()), address: "command line".to_owned() };
    let all = chosen.all;
    let numbers = numbers(&bus, chosen).await?;
    let (mut done, mut left) = (Vec::new(), Vec::new());
    let (mut patience, mut away) = (PATIENCE, 0);
    for number in numbers {
        let ended = loop {
            if away >= MOST_AWAY {
                break Err(Error::unavailable("not tried, because the bus does not answer"));
            }
            let began = Instant::now();
            match dead_letter_action::act(&bus, history.as_ref(), &operator, verb, number).await {
                Err(error) if error.try_again() && !patience.is_zero() => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    patience = patience.saturating_sub(began.elapsed());
                }
                ended => break ended.map_err(bus_access::failed),
            }
        };
        away = if ended.as_ref().is_err_and(|error| error.class().retry()) { away + 1 } else { 0 };
        match ended {
            Ok(Some(_)) => done.push(number),
            // Another operator was faster; the result is the wanted one.
            Ok(None) if all => {}
            Ok(None) => left.push((number, none(number))),
            Err(error) => left.push((number, error)),
        }
    }
    let said = if verb == Act::Replay { "replayed" } else { "dropped" };
    match common.output {
        Output::Json => {
            let left: Vec<_> = left
                .iter()
                .map(|(number, why)| json!({"number": number, "reason": why.to_string()}))
                .collect();
            print::json(&json!({ said: done, "left": left }));
        }
        Output::Text => {
            print::line(format!("{} {said}", done.len()));
            for (number, why) in &left {
                print::line(format!("left: {number}: {why}"));
            }
        }
    }
    // A failure that may pass decides the exit code before one that is permanent.
    let worst = left.iter().map(|(_, why)| why).max_by_key(|why| why.class().retry());
    Ok(worst.map_or(ExitCode::SUCCESS, ExitCode::from))
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
                print::json(&letter.view());
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
    vec![
        letter.number.to_string(),
        letter.failed_at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        letter.subject.clone(),
        masked(&letter.info.flow_key).chars().take(36).collect(),
        letter.info.attempts.to_string(),
        letter.info.failure.class.to_string(),
        masked(&letter.info.failure.message).chars().take(100).collect(),
    ]
}

async fn show(common: &Common, number: u64) -> Result<()> {
    let bus = bus_access::visit(&common.bus).await?;
    let letter =
        bus.dead_letter_by_number(number).await.map_err(bus_access::failed)?.ok_or_else(|| none(number))?;
    match common.output {
        Output::Json => print::json(&letter.view()),
        Output::Text => print::line(visible::json(&format!("{:#}", letter.view()))),
    }
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

/// Reads page by page, because all letters with their events may be too large at once.
async fn pages(
    bus: &Bus,
    Wanted { subject, customer, reason }: Wanted,
    payloads: bool,
    mut each: impl FnMut(Vec<DeadLetter>),
) -> Result<()> {
    let limit = if payloads { 25 } else { 1000 };
    let mut filter = Filter { subject, flow: customer, reason, payloads, limit, ..Filter::default() };
    loop {
        let page = bus.dead_letters(&filter).await.map_err(bus_access::failed)?;
        each(page.letters);
        match page.next {
            Some(next) => filter.after = next,
            None => return Ok(()),
        }
    }
}
