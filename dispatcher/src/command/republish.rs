//! `dispatcher republish`: publishes events again that are in the outbox and were lost by the bus.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use shared::config::Environment;
use shared::database::Settings;
use shared::error::{Error, Result};

use super::bus_access::BusArguments;
use super::number::{MOST, whole};
use super::output::Output;
use super::planning::Planning;
use super::{bus_access, print};
use crate::republish;

/// Publish events of the outbox again that the bus has lost, after a restore or the loss of a disk
#[derive(clap::Args)]
#[command(
    after_help = "Reads the outbox in the database of DATABASE_URL, or of DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME.\n\
    An event is published under its own id when no step has handled it, the bus does not keep it, and it is not a dead letter.\n\
    A running dispatcher does the same every minute. Running it again changes nothing."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    bus: BusArguments,
    /// Folder with the manifests
    #[arg(long, env = "DISPATCHER_EVENTS", default_value = "events")]
    events: PathBuf,
    #[command(flatten)]
    planning: Planning,
    /// Seconds that an event must have been in the outbox: a worker may be about to publish it
    #[arg(long, default_value = "10", value_parser = whole(0..=MOST))]
    older_than: u64,
    /// Only say what would be published
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    let folder = arguments.events.display().to_string();
    let set = crate::manifest::load_part(&arguments.events, None, &|_| Vec::new()).map_err(|problems| {
        let words: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Error::configuration(format!("the manifests in {folder} cannot be read:\n  {}", words.join("\n  ")))
    })?;
    let mut database = Settings::read(&Environment::from_process()?)?.connect().await?;
    let bus = bus_access::visit(&arguments.bus).await?;
    let youngest = Duration::from_secs(arguments.older_than);
    let cluster = arguments.planning.cluster();
    let (mut known, mut done) = (BTreeSet::new(), Vec::new());
    loop {
        let lost = republish::find(&mut database, &bus, &set, &cluster, youngest, &mut known).await?;
        if lost.is_empty() {
            break;
        }
        if !arguments.dry_run {
            republish::publish(&bus, &lost).await?;
        }
        known.extend(lost.iter().map(|one| one.id.clone()));
        done.extend(lost);
    }
    let said = if arguments.dry_run { "to be published again" } else { "published again" };
    match arguments.output {
        Output::Json => {
            let events: Vec<_> =
                done.iter().map(|one| json!({"id": one.id, "subject": one.subject})).collect();
            print::json(&json!({ "dry_run": arguments.dry_run, "events": events }));
        }
        Output::Text => {
            for one in &done {
                print::line(format!("{} on {}", one.id, one.subject));
            }
            print::line(format!("{} {said}", done.len()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
