//! `dispatcher explain`: what the manifests make of one event, and why, without running anything. It only contacts a
//! cluster with `--server-dry-run`.

#[cfg(feature = "kubernetes")]
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use shared::config::shown;
use shared::event::Kind;

#[cfg(feature = "kubernetes")]
use super::backend_arguments::AccessArguments;
use super::event_file;
use super::output::Output;
use super::planning::Planning;
use super::print;
use crate::explanation;
use crate::manifest;
use crate::paint::Paint;
use crate::plan::{self, Explanation, IncomingEvent, Needs};

/// The exit code if the event can never work.
const INPUT: u8 = 65;
/// The exit code if the manifests, or the command line, cannot work.
const CONFIGURATION: u8 = 78;

/// Shows which rules match an event and why the others do not, the action, and the Jobs; runs nothing
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// A file with a CloudEvent in structured JSON mode, or - for standard input
    pub event: PathBuf,
    /// Folder with the manifests [default: events]
    #[arg(long, value_name = "EVENTS", env = "DISPATCHER_EVENTS")]
    pub events: Option<PathBuf>,
    /// The earlier name of that variable
    #[arg(long, hide = true, env = "EVENTS_DIR")]
    pub events_dir: Option<PathBuf>,
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
    #[cfg(feature = "kubernetes")]
    #[arg(long, help_heading = "Kubernetes")]
    pub server_dry_run: bool,
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the help of the first option")]
    pub access: AccessArguments,
}

impl Explain {
    /// Prints the explanation. Returns 0 if nothing is wrong; 65 if the event or one of its Jobs is wrong; 78 if the
    /// manifests are wrong, or the part of them that the event is for.
    pub async fn run(&self) -> ExitCode {
        match self.explain_and_ask().await {
            Ok((text, code)) => {
                self.output.print(&text);
                code
            }
            Err((message, code)) => {
                print::problem(&format!("error: {message}"));
                ExitCode::from(code)
            }
        }
    }

    async fn explain_and_ask(&self) -> Result<(String, ExitCode), (String, u8)> {
        let (event, explanation) = self.explanation()?;
        #[cfg(feature = "kubernetes")]
        if self.server_dry_run {
            let plans = explanation.triggers.iter().filter_map(|one| one.outcome.as_ref().ok());
            let jobs: Vec<_> = plans.flat_map(explanation::jobs).collect();
            let answers = server::ask(&self.access.clone().into(), &jobs).await;
            let answers = answers.map_err(|error| (error.to_string(), error.class().exit_code()))?;
            let (text, code) = self.show(&event, &explanation, Some(server::machine(&answers)));
            let text = if self.output == Output::Text {
                text + &server::text(&answers, Paint::for_stdout())
            } else {
                text
            };
            return Ok((text, if server::all_taken(&answers) { code } else { ExitCode::from(INPUT) }));
        }
        Ok(self.show(&event, &explanation, None))
    }

    fn folder(&self) -> &Path {
        self.events.as_deref().or(self.events_dir.as_deref()).unwrap_or_else(|| Path::new("events"))
    }

    fn explanation(&self) -> Result<(IncomingEvent, Explanation), (String, u8)> {
        let payload = event_file::read(&self.event)
            .map_err(|error| (format!("cannot read {}: {error}", shown(&self.event)), INPUT))?;
        let needs = Needs { cluster: self.planning.cluster(), given: None };
        let set = manifest::load_part(self.folder(), None, &|set| needs.unmet(set)).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            (format!("the manifests are refused:\n{}", lines.join("\n")), CONFIGURATION)
        })?;
        let mut event = IncomingEvent::parse("", &[], &payload).map_err(|error| {
            let name =
                if self.event == Path::new("-") { "standard input".into() } else { shown(&self.event) };
            (format!("{name}: {error}"), INPUT)
        })?;
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
        explained: &Explanation,
        answers: Option<Value>,
    ) -> (String, ExitCode) {
        let failed =
            explained.triggers.iter().any(|one| one.outcome.as_ref().is_ok_and(|plan| plan.outcome.is_err()));
        let text = match self.output {
            Output::Text => explanation::text(event, explained, Paint::for_stdout()),
            Output::Json => explanation::machine(event, explained, answers),
        };
        let waits = explained.left_out.iter().any(|one| one.waits);
        let code = match (waits, failed) {
            (true, _) => ExitCode::from(CONFIGURATION),
            (_, true) => ExitCode::from(INPUT),
            _ => ExitCode::SUCCESS,
        };
        (text, code)
    }
}

/// The subject of events with this type in the flow; otherwise the name of the folder, if the file is a sample.
fn guess(path: &Path, event_type: &str) -> Option<String> {
    if let Some(kind) = Kind::from_type(event_type) {
        return Some(kind.subject().to_owned());
    }
    let folder = path.parent().filter(|_| path.ends_with("sample.cloudevent"))?;
    Some(folder.canonicalize().ok()?.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")
    }

    fn command(event: PathBuf, subject: Option<&str>, output: Output) -> Explain {
        Explain {
            event,
            events: Some(shipped()),
            events_dir: None,
            subject: subject.map(str::to_owned),
            output,
            planning: Planning::for_tests(),
            #[cfg(feature = "kubernetes")]
            server_dry_run: false,
            #[cfg(feature = "kubernetes")]
            access: AccessArguments::default(),
        }
    }

    fn explain(
        event: PathBuf,
        subject: Option<&str>,
        output: Output,
    ) -> Result<(String, ExitCode), (String, u8)> {
        let explain = command(event, subject, output);
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
    fn the_folder_has_its_earlier_variable_too() {
        let folder = |events: Option<&str>, earlier: Option<&str>| {
            let mut explain = command(PathBuf::from("-"), None, Output::Text);
            (explain.events, explain.events_dir) = (events.map(PathBuf::from), earlier.map(PathBuf::from));
            explain.folder().to_owned()
        };
        assert_eq!(folder(None, None), Path::new("events"));
        assert_eq!(folder(None, Some("b")), Path::new("b"));
        assert_eq!(folder(Some("a"), Some("b")), Path::new("a"));
    }

    #[test]
    fn the_valid_part_is_explained_and_the_invalid_one_named() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["user-saved", "customer-saved"] {
            for file in ["eventsource.yaml", "eventtrigger.yaml", "configmap.yaml"] {
                let text = fs::read_to_string(shipped().join(name).join(file)).unwrap();
                let text = if name == "user-saved" && file == "eventtrigger.yaml" {
                    text.replace("name: user-saved-job", "name: nowhere")
                } else {
                    text
                };
                fs::write(folder.path().join(format!("{name}-{file}")), text).unwrap();
            }
        }
        let explained = |event: &str, output: Output| {
            let mut explain = command(shipped().join(event).join("sample.cloudevent"), None, output);
            explain.events = Some(folder.path().to_owned());
            let (event, explanation) = explain.explanation().unwrap();
            explain.show(&event, &explanation, None)
        };
        let (text, code) = explained("customer-saved", Output::Text);
        assert_eq!(code, ExitCode::SUCCESS, "{text}");
        assert!(text.contains("✓ EventTrigger customer-saved-trigger: Create Job default/customer-saved-"));
        assert!(text.contains("✗ EventTrigger/user-saved-trigger is left out\n"), "{text}");
        assert!(text.contains("user-saved-eventtrigger.yaml") && text.contains("nowhere"), "{text}");
        let (text, code) = explained("user-saved", Output::Text);
        assert_eq!(code, ExitCode::from(CONFIGURATION));
        assert!(text.contains("is left out: the event would wait for it"), "{text}");
        let (text, _) = explained("user-saved", Output::Json);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["leftOut"][0]["name"], "EventTrigger/user-saved-trigger");
        assert_eq!(value["leftOut"][0]["waits"], true);
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
