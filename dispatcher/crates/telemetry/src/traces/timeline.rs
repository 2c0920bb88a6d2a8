//! The times of a step, reported by engine, backend and worker with separate clocks, and put in order.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use shared::telemetry::PHASES;

use job::{JobRun, State};

/// The most phases: a result line has at most 4 KB.
const MOST_PHASES: usize = 32;
const MOST_NAME: usize = 64;

/// The moments of a step, each not before the previous one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    /// When the event was published; for a later delivery, when it was taken.
    pub(super) begin: DateTime<Utc>,
    /// The Job was handed to the backend.
    pub(super) handed: DateTime<Utc>,
    /// When the worker started; `None` if nothing was started.
    pub(super) started: Option<DateTime<Utc>>,
    /// When the end was seen.
    pub(super) ended: DateTime<Utc>,
    /// The phases that the worker reports, one after the other.
    pub(super) phases: Vec<Phase>,
}

/// A part of the worker's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) name: String,
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

impl Timeline {
    /// `None` while it runs. `line` is the worker's result line, or null.
    pub(super) fn of(run: &JobRun, line: &Value) -> Option<Self> {
        let State::Ended { started_at, ended_at, tries, adopted, .. } = &run.state else { return None };
        let facts = &run.event;
        // For a later delivery, the wait would include the earlier ones. An adopted Job belongs to the first
        // delivery.
        let begin = if facts.delivery == 1 || *adopted { facts.published_at } else { facts.taken_at };
        let begin = begin.min(*ended_at);
        let handed = match (adopted, started_at) {
            (true, Some(at)) => run.handed_at.min(*at),
            _ => run.handed_at,
        };
        let handed = handed.clamp(begin, *ended_at);
        let said: Option<DateTime<Utc>> = line["started_at"].as_str().and_then(|text| text.parse().ok());
        let within = |at: DateTime<Utc>| at.clamp(handed, *ended_at);
        // With several tries, the worker's report is about the last one.
        let started = started_at.map(|at| within(if *tries <= 1 { said.unwrap_or(at) } else { at }));
        let phases = started.map(|started| phases(line, said.map_or(started, within), *ended_at));
        Some(Self { begin, handed, started, ended: *ended_at, phases: phases.unwrap_or_default() })
    }
}

fn phases(line: &Value, mut at: DateTime<Utc>, end: DateTime<Utc>) -> Vec<Phase> {
    let Some(timings) = line["timings_ms"].as_object() else { return Vec::new() };
    let mut timings: Vec<_> = timings.iter().filter(|(name, _)| *name != "total").take(MOST_PHASES).collect();
    timings.sort_by_key(|(name, _)| PHASES.iter().position(|phase| phase == name).unwrap_or(PHASES.len()));
    let duration = |value: &Value| {
        let milliseconds = value.as_f64().filter(|ms| (0.0..=1e9).contains(ms))?;
        #[expect(clippy::cast_possible_truncation, reason = "at most 1e12")]
        Some(TimeDelta::microseconds((milliseconds * 1000.0) as i64))
    };
    timings
        .into_iter()
        .filter_map(|(name, value)| {
            let from = at;
            at = (at + duration(value)?).min(end);
            Some(Phase { name: name.chars().take(MOST_NAME).collect(), from, to: at })
        })
        .collect()
}
