//! A customer's runs as a timeline: how long each waited, started and ran, how it ended, and what the worker
//! reported.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::flow::Flow;
use crate::server::format::{duration, step};
use history::{Run, RunState};
use job::short;

/// The width of a bar, in its own units.
const WIDTH: i64 = 1000;

/// A run, or a step that has not run yet.
pub(super) struct Entry {
    pub(super) step: String,
    pub(super) subject: String,
    pub(super) run: Option<Run>,
    pub(super) bar: Option<Bar>,
    /// Names and values of what the worker reported: mail, order, CRM.
    pub(super) facts: Vec<(&'static str, String)>,
    /// How long each phase of the worker took.
    pub(super) phases: String,
}

/// The positions of waiting, starting and running between the first and the last moment of all runs.
pub(super) struct Bar {
    pub(super) wait: (i64, i64),
    pub(super) start: (i64, i64),
    pub(super) run: (i64, i64),
}

impl Entry {
    pub(super) fn state(&self) -> (&'static str, &'static str) {
        match self.run.as_ref().map(|run| (run.state, run.superseded)) {
            None => ("not yet", "zero"),
            Some((RunState::Failed, true)) => ("failed, replayed", "zero"),
            Some((RunState::Running, _)) => ("running", "busy"),
            Some((RunState::Complete, _)) => ("done", "good"),
            Some((RunState::Failed, false)) => ("failed", "bad"),
            Some((RunState::TryAgain, _)) => ("to be tried again", "warn"),
            Some((RunState::HandedBack, _)) => ("handed back", "warn"),
            Some((RunState::Dropped, _)) => ("failed, dropped", "zero"),
        }
    }

    /// The descriptions of a run, each with its label.
    pub(super) fn details(&self) -> Vec<(&'static str, String)> {
        let Some(run) = &self.run else { return Vec::new() };
        let mut all = vec![("waited", duration(run.handed_at - run.published_at))];
        if let Some(started) = run.started_at {
            all.push(("began after", duration(started - run.handed_at)));
        }
        if let (Some(started), Some(ended)) = (run.started_at, run.ended_at) {
            all.push(("ran", duration(ended - started)));
        }
        if run.tries > 1 {
            all.push(("tries", run.tries.to_string()));
        }
        if run.deliveries > 1 {
            all.push(("deliveries", run.deliveries.to_string()));
        }
        if run.replay > 0 {
            all.push(("replay", run.replay.to_string()));
        }
        if let Some(code) = run.exit_code {
            all.push(("exit code", code.to_string()));
        }
        if let Some(class) = &run.class {
            all.push(("cause", class.clone()));
        }
        if run.adopted {
            all.push(("started by", "another dispatcher".to_owned()));
        }
        all
    }
}

/// All runs in order, and then the steps of the flow without a run.
pub(super) fn entries(runs: Vec<Run>, flow: &Flow, ended: bool, now: DateTime<Utc>) -> Vec<Entry> {
    let first = runs.iter().map(|run| run.published_at).min().unwrap_or(now);
    let last = runs.iter().map(|run| run.ended_at.unwrap_or(now)).max().unwrap_or(now);
    let span = (last - first).max(TimeDelta::milliseconds(1));
    let missing: Vec<_> = flow
        .in_order()
        .filter(|step| !ended && !runs.iter().any(|run| run.trigger == step.trigger))
        .map(|step| Entry {
            step: step.name().to_owned(),
            subject: step.subjects.join(", "),
            run: None,
            bar: None,
            facts: Vec::new(),
            phases: String::new(),
        })
        .collect();
    runs.into_iter().map(|run| entry(run, first, span, now)).chain(missing).collect()
}

fn entry(run: Run, first: DateTime<Utc>, span: TimeDelta, now: DateTime<Utc>) -> Entry {
    let at = |time: DateTime<Utc>| {
        let share =
            (time - first).num_microseconds().unwrap_or(0).clamp(0, span.num_microseconds().unwrap_or(1));
        i64::try_from(
            i128::from(share) * i128::from(WIDTH) / i128::from(span.num_microseconds().unwrap_or(1).max(1)),
        )
        .unwrap_or(0)
    };
    // An adopted Job may have begun before it was handed over here. A run without a start is at its end, or has not
    // begun.
    let end = run.ended_at.unwrap_or(now);
    let begun = run.started_at.unwrap_or(end);
    let moments = [run.published_at, run.handed_at.min(begun), begun, end].map(at);
    let part = |from: usize| (moments[from], (moments[from + 1] - moments[from]).max(0));
    let (run_from, run_long) = part(2);
    let report: Value =
        run.report.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    Entry {
        // An event that could not be planned has no image.
        step: match (run.image.as_str(), run.trigger.as_str()) {
            ("", "") => "refused",
            ("", trigger) => step(trigger),
            (image, _) => short(image),
        }
        .to_owned(),
        subject: run.nats_subject.clone(),
        bar: Some(Bar { wait: part(0), start: part(1), run: (run_from, run_long.max(4)) }),
        facts: facts(&report),
        phases: phases(&report),
        run: Some(run),
    }
}

fn facts(report: &Value) -> Vec<(&'static str, String)> {
    let names = [
        ("message_id", "mail"),
        ("order", "order"),
        ("order_id", "order id"),
        ("crm_id", "CRM id"),
        ("outcome", "worker says"),
        ("emitted_count", "events sent"),
    ];
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    names.iter().filter_map(|(field, name)| Some((*name, text(report.get(field)?)?))).collect()
}

fn phases(report: &Value) -> String {
    let Some(timings) = report.get("timings_ms").and_then(Value::as_object) else { return String::new() };
    let phase = |(name, ms): (&String, &Value)| ms.as_f64().map(|ms| format!("{name} {ms:.1} ms"));
    let parts: Vec<_> = timings.iter().filter_map(phase).collect();
    parts.join(", ")
}
