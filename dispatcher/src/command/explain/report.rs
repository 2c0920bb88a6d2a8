//! An explanation in words, and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::command::output::Paint;
use crate::plan::{
    Action, Explanation, FieldMismatch, IncomingEvent, PlannedJob, SourceExplanation, TriggerExplanation,
    TriggerPlan,
};

/// Longest value of an event that is shown.
const SHOWN: usize = 80;

/// For people: the event, every rule, and the Jobs as YAML.
pub(super) fn text(event: &IncomingEvent, explanation: &Explanation, paint: Paint) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("event {} of type {}", paint.bold(&shown(event.id())), shown(event.event_type())));
    line(format!(
        "source {}, subject {}, on NATS subject {}",
        shown(event.source()),
        shown(event.subject()),
        shown(&event.nats_subject)
    ));
    line(String::new());
    for source in &explanation.sources {
        lines_of_source(source, paint).into_iter().for_each(&mut line);
    }
    line(String::new());
    for trigger in &explanation.triggers {
        lines_of_trigger(trigger, paint).into_iter().for_each(&mut line);
    }
    if explanation.sources.iter().all(|source| !source.matches) {
        line(String::new());
        line("no EventSource matches: the event is acknowledged and counted, nothing runs".into());
    }
    for job in explanation.triggers.iter().filter_map(|one| one.outcome.as_ref().ok()).flat_map(jobs) {
        line("---".into());
        line(yaml(&job.manifest.value()).trim_end().to_owned());
    }
    out
}

fn lines_of_source(source: &SourceExplanation, paint: Paint) -> Vec<String> {
    let place = paint.dim(&source.place.to_string());
    if source.matches {
        return vec![format!(
            "{} EventSource {} matches  {place}",
            paint.green("✓"),
            paint.bold(&source.name)
        )];
    }
    let mut lines = vec![format!("{} EventSource {} does not match  {place}", paint.dim("·"), source.name)];
    if source.criteria.is_empty() {
        lines.push("    it has no criteria".into());
    }
    for (index, criterion) in source.criteria.iter().enumerate() {
        for mismatch in &criterion.mismatches {
            lines.push(format!("    criterion {}: {}", index + 1, words(mismatch)));
        }
    }
    lines
}

fn words(mismatch: &FieldMismatch) -> String {
    let FieldMismatch { field, pattern, value, fault } = mismatch;
    match (fault, value.as_str()) {
        (Some(fault), _) => format!("{field} /{pattern}/ never matches: {fault}"),
        (None, "") => format!("{field} /{pattern}/ does not match: the event has none"),
        (None, value) => format!("{field} /{pattern}/ does not match “{}”", shown(value)),
    }
}

fn lines_of_trigger(trigger: &TriggerExplanation, paint: Paint) -> Vec<String> {
    let place = paint.dim(&trigger.place.to_string());
    let name = paint.bold(&trigger.name);
    match &trigger.outcome {
        Err(reason) => vec![
            format!("{} EventTrigger {} does not fire  {place}", paint.dim("·"), trigger.name),
            format!("    {reason}"),
        ],
        Ok(TriggerPlan { outcome: Err(error), .. }) => vec![
            format!(
                "{} EventTrigger {name} fails: the event would go to the dead letters  {place}",
                paint.red("✗")
            ),
            format!("    {error}"),
        ],
        Ok(TriggerPlan { outcome: Ok(action), .. }) => {
            vec![format!("{} EventTrigger {name}: {}  {place}", paint.green("✓"), verb(action))]
        }
    }
}

fn verb(action: &Action) -> String {
    match action {
        Action::Create { sync, jobs, .. } => {
            let names: Vec<_> = jobs.iter().map(|job| format!("{}/{}", job.namespace, job.name)).collect();
            let what = if names.is_empty() { "nothing".into() } else { format!("Job {}", names.join(", ")) };
            format!("Create {what} ({sync:?})")
        }
        Action::Delete { .. } => "Delete what it made for this source and subject".into(),
        Action::Skip(reason) => format!("skips: {reason}"),
    }
}

/// For machines.
pub(super) fn machine(event: &IncomingEvent, explanation: &Explanation, server: Option<Value>) -> String {
    let sources: Vec<Value> = explanation
        .sources
        .iter()
        .map(|source| {
            let mismatches = source.criteria.iter().map(|criterion| {
                let fields = criterion.mismatches.iter().map(|one| {
                    json!({"field": one.field, "pattern": one.pattern, "value": one.value, "fault": one.fault})
                });
                fields.collect::<Vec<_>>()
            });
            json!({
                "name": source.name, "place": source.place.to_string(), "matches": source.matches,
                "criteria": mismatches.collect::<Vec<_>>(),
            })
        })
        .collect();
    let triggers: Vec<Value> = explanation.triggers.iter().map(machine_trigger).collect();
    let mut document = json!({
        "event": event.view(), "natsSubject": event.nats_subject, "eventSources": sources, "eventTriggers": triggers,
    });
    if let Some(server) = server {
        document["serverDryRun"] = server;
    }
    format!("{document:#}\n")
}

fn machine_trigger(trigger: &TriggerExplanation) -> Value {
    let mut value =
        json!({"name": trigger.name, "place": trigger.place.to_string(), "fires": trigger.outcome.is_ok()});
    match &trigger.outcome {
        Err(reason) => value["reason"] = reason.as_str().into(),
        Ok(plan) => {
            value["identity"] = plan.identity.hash().into();
            match &plan.outcome {
                Err(error) => value["error"] = error.to_string().into(),
                Ok(Action::Create { sync, jobs, .. }) => {
                    value["action"] = "Create".into();
                    value["syncMode"] = json!(sync);
                    value["jobs"] = jobs.iter().map(|job| job.manifest.value()).collect();
                }
                Ok(Action::Delete { .. }) => value["action"] = "Delete".into(),
                Ok(Action::Skip(reason)) => {
                    value["action"] = "Skip".into();
                    value["reason"] = reason.as_str().into();
                }
            }
        }
    }
    value
}

/// The Jobs that the trigger would make.
pub(super) fn jobs(plan: &TriggerPlan) -> &[PlannedJob] {
    match &plan.outcome {
        Ok(Action::Create { jobs, .. }) => jobs,
        _ => &[],
    }
}

/// As YAML; should that ever fail, JSON is YAML too.
pub(super) fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_else(|_| format!("{value:#}"))
}

/// Event data on one line of a terminal: no control characters, not endless.
fn shown(text: &str) -> String {
    if text.is_empty() {
        return "(none)".into();
    }
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == SHOWN {
            out.push('…');
            break;
        }
        if c.is_control() {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
