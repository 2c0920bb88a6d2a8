//! `dispatcher explain`: what the manifests make of one event, and why, without running anything.

mod report;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::Args;
use shared::event::Kind;

use super::output::{Output, Paint};
use super::planning::Planning;
use crate::manifest;
use crate::plan::{self, IncomingEvent};

/// The event can never work.
const INPUT: u8 = 65;
/// The manifests, or the command line, cannot work.
const CONFIGURATION: u8 = 78;

/// Shows which rules match an event and why the others do not, the action, and the Jobs; runs nothing
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// A file with a CloudEvent in structured JSON mode, or `-` for standard input
    pub event: PathBuf,
    /// The folder of manifests
    #[arg(long, value_name = "DIR", default_value = "events", env = "EVENTS_DIR")]
    pub events: PathBuf,
    /// The NATS subject it would come on [default: that of its type, or the name of its sample's folder]
    #[arg(long, value_name = "NATS_SUBJECT")]
    pub subject: Option<String>,
    /// For people or for machines
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the help of the first option")]
    pub planning: Planning,
}

impl Explain {
    /// Prints the explanation; 0 if nothing is wrong, 65 if the event is, 78 if the manifests are.
    pub fn run(&self) -> ExitCode {
        match self.explain() {
            Ok((text, code)) => {
                print!("{text}");
                code
            }
            Err((message, code)) => {
                eprintln!("error: {message}");
                ExitCode::from(code)
            }
        }
    }

    fn explain(&self) -> Result<(String, ExitCode), (String, u8)> {
        let payload = read(&self.event)
            .map_err(|error| (format!("{}: {error}", self.event.display()), CONFIGURATION))?;
        let set = manifest::load(&self.events).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            (format!("the manifests are refused:\n{}", lines.join("\n")), CONFIGURATION)
        })?;
        let mut event =
            IncomingEvent::parse("", &[], &payload).map_err(|error| (error.to_string(), INPUT))?;
        let subject =
            self.subject.clone().or_else(|| guess(&self.event, event.event_type())).ok_or_else(|| {
                let message = format!(
                    "the type {} is not of the flow: name the NATS subject with --subject",
                    event.event_type()
                );
                (message, CONFIGURATION)
            })?;
        event.nats_subject = subject;
        let explanation = plan::explain(&event, &set, &self.planning.cluster(), &self.planning.policy());
        let failed = explanation
            .triggers
            .iter()
            .any(|one| one.outcome.as_ref().is_ok_and(|plan| plan.outcome.is_err()));
        let text = match self.output {
            Output::Text => report::text(&event, &explanation, Paint::for_stdout()),
            Output::Json => report::machine(&event, &explanation),
        };
        Ok((text, if failed { ExitCode::from(INPUT) } else { ExitCode::SUCCESS }))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return fs::read(path);
    }
    let mut payload = Vec::new();
    io::stdin().read_to_end(&mut payload)?;
    Ok(payload)
}

/// The subject on which an event of this type comes in the flow; else the folder, if the file is a sample.
fn guess(path: &Path, event_type: &str) -> Option<String> {
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.ty() == event_type) {
        return Some(kind.subject().to_owned());
    }
    let folder = path.parent().filter(|_| path.ends_with("sample.cloudevent"))?;
    Some(folder.canonicalize().ok()?.file_name()?.to_str()?.to_owned())
}
