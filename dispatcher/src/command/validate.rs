//! `dispatcher validate`: everything that can be checked in a folder of manifests without a server.

mod check;
mod expression;
mod flow;
mod lint;
mod locate;
mod sample;
mod variant;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::backend_arguments::BackendName;
use super::output::Output;
use super::planning::Planning;
use crate::manifest::{Problem, Severity};
use crate::paint::Paint;

pub use check::{Counts, Report, check};

/// The exit code if the manifests cannot work as they are.
const CONFIGURATION: u8 = 78;

/// Checks every manifest: fields, references, expressions, templates, Jobs, images, cycles
#[derive(Debug, Clone, Args)]
pub struct Validate {
    /// The folder of manifests
    #[arg(default_value = "events")]
    pub dir: PathBuf,
    /// Where the Jobs will run: what it cannot honour is an error [default: a warning for what only Kubernetes can]
    #[arg(long, value_enum)]
    pub backend: Option<BackendName>,
    /// For people or for machines
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the help of the first option")]
    pub planning: Planning,
}

impl Validate {
    /// Prints the problems. Returns 0 if the set can take force, otherwise 78.
    pub fn run(&self) -> ExitCode {
        let report =
            check(&self.dir, &self.planning.cluster(), &self.planning.policy(), self.backend.map(Into::into));
        self.output.print(&match self.output {
            Output::Text => text(&report, Paint::for_stdout()),
            Output::Json => machine(&report),
        });
        if report.errors() > 0 { ExitCode::from(CONFIGURATION) } else { ExitCode::SUCCESS }
    }
}

fn text(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    for problem in &report.problems {
        out.push_str(&line(problem, paint));
        out.push('\n');
    }
    if !report.problems.is_empty() {
        out.push('\n');
    }
    let Counts { sources, triggers, config_maps, samples, jobs } = report.counts;
    let counts = [
        count(sources, "EventSource"),
        count(triggers, "EventTrigger"),
        count(config_maps, "ConfigMap"),
        count(samples, "sample"),
        count(jobs, "Job"),
    ];
    out.push_str(&counts.join(", "));
    out.push_str(" rendered\n");
    let (errors, warnings) = (report.errors(), report.problems.len() - report.errors());
    let verdict = format!("{}, {}", count(errors, "error"), count(warnings, "warning"));
    out.push_str(&match (errors, warnings) {
        (0, 0) => paint.green("no problems"),
        (0, _) => paint.yellow(&verdict),
        _ => paint.red(&verdict),
    });
    out.push('\n');
    out
}

fn line(problem: &Problem, paint: Paint) -> String {
    let place = match problem.line {
        0 => problem.file.display().to_string(),
        line => format!("{}:{line}", problem.file.display()),
    };
    let severity = match problem.severity {
        Severity::Error => paint.red("error"),
        Severity::Warning => paint.yellow("warning"),
    };
    let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
    format!("{}: {severity}: {field}{}", paint.bold(&place), problem.message)
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn machine(report: &Report) -> String {
    let Counts { sources, triggers, config_maps, samples, jobs } = report.counts;
    let errors = report.errors();
    let document = json!({
        "valid": errors == 0,
        "errors": errors,
        "warnings": report.problems.len() - errors,
        "version": report.version,
        "counts": {
            "eventSources": sources, "eventTriggers": triggers, "configMaps": config_maps, "samples": samples, "jobs": jobs,
        },
        "problems": report.problems,
    });
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests;
