//! `dispatcher explain`: what the manifests make of one event, and why, without running anything. Only with `--server-dry-run` is
//! a cluster asked.

mod report;
mod server;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::Args;
use shared::event::Kind;

use super::output::{self, Output, Paint};
use super::planning::Planning;
use crate::backend::kubernetes::Access;
use crate::manifest;
use crate::plan::{self, Explanation, IncomingEvent};

/// The event can never work.
const INPUT: u8 = 65;
/// The manifests, or the command line, cannot work.
const CONFIGURATION: u8 = 78;

/// Shows which rules match an event and why the others do not, the action, and the Jobs; runs nothing
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// A file with a CloudEvent in structured JSON mode, or - for standard input
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
    /// Ask the cluster what it would make of the Jobs: a dry run, nothing is kept
    #[arg(long, help_heading = "Kubernetes")]
    pub server_dry_run: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the help of the first option")]
    pub access: Access,
}

impl Explain {
    /// Prints the explanation; 0 if nothing is wrong, 65 if the event or a Job of it is, 78 if the manifests are.
    pub async fn run(&self) -> ExitCode {
        match self.explain_and_ask().await {
            Ok((text, code)) => {
                output::print(&text);
                code
            }
            Err((message, code)) => {
                eprintln!("error: {message}");
                ExitCode::from(code)
            }
        }
    }

    async fn explain_and_ask(&self) -> Result<(String, ExitCode), (String, u8)> {
        let (event, explanation) = self.explanation()?;
        if !self.server_dry_run {
            return Ok(self.show(&event, &explanation, None));
        }
        let plans = explanation.triggers.iter().filter_map(|one| one.outcome.as_ref().ok());
        let jobs: Vec<_> = plans.flat_map(report::jobs).collect();
        let answers = server::ask(&self.access, &jobs).await;
        let answers = answers.map_err(|error| (error.to_string(), error.class().exit_code()))?;
        Ok(self.show(&event, &explanation, Some(&answers)))
    }

    fn explanation(&self) -> Result<(IncomingEvent, Explanation), (String, u8)> {
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
        Ok((event, explanation))
    }

    fn show(
        &self,
        event: &IncomingEvent,
        explanation: &Explanation,
        answers: Option<&[server::Answer]>,
    ) -> (String, ExitCode) {
        let failed = explanation
            .triggers
            .iter()
            .any(|one| one.outcome.as_ref().is_ok_and(|plan| plan.outcome.is_err()));
        let refused = answers.is_some_and(|answers| !server::all_taken(answers));
        let text = match self.output {
            Output::Text => {
                let paint = Paint::for_stdout();
                let server = answers.map(|answers| server::text(answers, paint)).unwrap_or_default();
                report::text(event, explanation, paint) + &server
            }
            Output::Json => report::machine(event, explanation, answers.map(server::machine)),
        };
        (text, if failed || refused { ExitCode::from(INPUT) } else { ExitCode::SUCCESS })
    }
}

/// An explanation for people, without colours.
pub fn words(event: &IncomingEvent, explanation: &plan::Explanation) -> String {
    report::text(event, explanation, Paint::none())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")
    }

    fn explain(
        event: PathBuf,
        subject: Option<&str>,
        output: Output,
    ) -> Result<(String, ExitCode), (String, u8)> {
        let planning = Planning::for_tests();
        let (access, subject) = (Access::default(), subject.map(str::to_owned));
        let explain =
            Explain { event, events: shipped(), subject, output, planning, server_dry_run: false, access };
        let (event, explanation) = explain.explanation()?;
        Ok(explain.show(&event, &explanation, None))
    }

    #[test]
    fn a_sample_shows_what_matches_what_does_not_and_the_job() {
        let (text, code) =
            explain(shipped().join("user-saved/sample.cloudevent"), None, Output::Text).unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
        for part in [
            "✓ EventSource user-saved matches",
            "· EventSource swag-ordered does not match",
            "    criterion 1: subject /^swag-ordered$/ does not match “user-saved”",
            "✓ EventTrigger user-saved-trigger: Create Job default/user-saved-",
            "    EventSource customer-saved does not match",
            "---\napiVersion: batch/v1\nkind: Job\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn another_subject_matches_nothing_and_says_so() {
        let sample = shipped().join("user-saved/sample.cloudevent");
        let (text, code) = explain(sample, Some("elsewhere"), Output::Text).unwrap();
        assert!(text.contains("no EventSource matches: the event is acknowledged and counted, nothing runs"));
        assert_eq!(code, ExitCode::SUCCESS);
    }

    #[test]
    fn machines_get_the_jobs_and_the_reasons() {
        let (text, _) = explain(shipped().join("user-saved/sample.cloudevent"), None, Output::Json).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let triggers = value["eventTriggers"].as_array().unwrap();
        let fires: Vec<_> = triggers.iter().filter(|trigger| trigger["fires"] == true).collect();
        assert_eq!(fires.len(), 1);
        assert_eq!(fires[0]["jobs"][0]["kind"], "Job");
        assert_eq!(triggers.len(), 7);
    }

    #[test]
    fn what_is_no_event_is_bad_input_and_an_unknown_type_needs_a_subject() {
        let dir = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = dir.path().join("event.json");
            fs::write(&path, text).unwrap();
            path
        };
        assert_eq!(explain(file("{}"), None, Output::Text).unwrap_err().1, INPUT);
        let foreign = r#"{"specversion":"1.0","id":"1","source":"x","type":"foreign"}"#;
        assert!(explain(file(foreign), None, Output::Text).unwrap_err().0.contains("--subject"));
        assert!(explain(file(foreign), Some("x"), Output::Text).is_ok());
    }
}
