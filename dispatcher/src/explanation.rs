//! An explanation as text and as JSON.

use serde_json::{Value, json};
use shared::visible;

use crate::paint::Paint;
use crate::plan::{
    Action, Explanation, FieldMismatch, IncomingEvent, PlannedJob, SourceExplanation, TriggerExplanation,
    TriggerPlan,
};

/// The longest value of an event that is shown, in characters.
const SHOWN: usize = 80;

/// The explanation as text: the event, every rule, in force or left out, and the Jobs as YAML.
pub(crate) fn text(event: &IncomingEvent, explanation: &Explanation, paint: Paint) -> String {
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
    for one in &explanation.left_out {
        let waits = if one.waits { ": the event would wait for it" } else { "" };
        line(format!("{} {} is left out{waits}", paint.red("✗"), paint.bold(&one.name)));
        line(format!("    {}", one.why));
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
    let position = paint.dim(&source.position.to_string());
    if source.matches {
        return vec![format!(
            "{} EventSource {} matches  {position}",
            paint.green("✓"),
            paint.bold(&source.name)
        )];
    }
    let mut lines =
        vec![format!("{} EventSource {} does not match  {position}", paint.dim("·"), source.name)];
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
    let position = paint.dim(&trigger.position.to_string());
    let name = paint.bold(&trigger.name);
    match &trigger.outcome {
        Err(reason) => vec![
            format!("{} EventTrigger {} does not fire  {position}", paint.dim("·"), trigger.name),
            format!("    {reason}"),
        ],
        Ok(TriggerPlan { outcome: Err(error), .. }) => vec![
            format!(
                "{} EventTrigger {name} fails: the event would go to the dead letters  {position}",
                paint.red("✗")
            ),
            format!("    {error}"),
        ],
        Ok(TriggerPlan { outcome: Ok(action), .. }) => {
            vec![format!("{} EventTrigger {name}: {}  {position}", paint.green("✓"), verb(action))]
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

/// The explanation as JSON.
pub(crate) fn machine(event: &IncomingEvent, explanation: &Explanation, server: Option<Value>) -> String {
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
                "name": source.name, "place": source.position.to_string(), "matches": source.matches,
                "criteria": mismatches.collect::<Vec<_>>(),
            })
        })
        .collect();
    let triggers: Vec<Value> = explanation.triggers.iter().map(machine_trigger).collect();
    let left_out = explanation.left_out.iter();
    let left_out = left_out.map(|one| json!({"name": one.name, "why": one.why, "waits": one.waits}));
    let mut document = json!({
        "event": event.view(), "natsSubject": event.nats_subject, "eventSources": sources, "eventTriggers": triggers,
        "leftOut": left_out.collect::<Vec<_>>(),
    });
    if let Some(server) = server {
        document["serverDryRun"] = server;
    }
    format!("{document:#}\n")
}

fn machine_trigger(trigger: &TriggerExplanation) -> Value {
    let mut value = json!({"name": trigger.name, "place": trigger.position.to_string(), "fires": trigger.outcome.is_ok()});
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
pub(crate) fn jobs(plan: &TriggerPlan) -> &[PlannedJob] {
    match &plan.outcome {
        Ok(Action::Create { jobs, .. }) => jobs,
        _ => &[],
    }
}

/// As YAML. If that fails, JSON is valid YAML too.
pub(crate) fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_else(|_| format!("{value:#}"))
}

/// Event data on one line, shortened.
fn shown(text: &str) -> String {
    if text.is_empty() {
        return "(none)".into();
    }
    let cut = text.char_indices().nth(SHOWN).map(|(end, _)| &text[..end]);
    let more = if cut.is_some() { "…" } else { "" };
    format!("{}{more}", visible::line(cut.unwrap_or(text)))
}
