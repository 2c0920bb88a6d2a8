//! The record of a Job: one line of JSON for each change; the last complete line counts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::super::adoption::Known;
use super::super::{EndedJobPolicy, Outcome, Ran, Try};
use super::identity::ProcessId;
use rules::plan::PlannedJob;

/// What is known of a Job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) job: String,
    pub(super) trigger: String,
    pub(super) identity: String,
    pub(super) event: String,
    pub(super) event_id: String,
    #[serde(rename = "attempt")]
    pub(super) try_number: u32,
    pub(super) failures: u32,
    pub(super) process: Option<ProcessId>,
    /// A dispatcher that stopped has asked the current try to end, and left it running.
    #[serde(default)]
    pub(super) left: bool,
    started_ms: u64,
    ttl_seconds: Option<u64>,
    ended: Option<Ended>,
    /// The tries before the current one.
    #[serde(default)]
    pub(super) earlier: Vec<Try>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ended {
    at_ms: u64,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Record {
    pub(super) fn new(job: &PlannedJob, if_ended: EndedJobPolicy) -> Self {
        Self {
            job: format!("{}/{}", job.namespace, job.name),
            trigger: job.identity.trigger.clone(),
            identity: job.identity.hash(),
            event: job.identity.event_hash(),
            event_id: job.identity.event_id.clone(),
            try_number: 0,
            failures: 0,
            process: None,
            left: false,
            started_ms: milliseconds(SystemTime::now()),
            // What must never run again is remembered for ever.
            ttl_seconds: job
                .spec
                .ttl_after_finished
                .filter(|_| if_ended == EndedJobPolicy::Replace)
                .map(|ttl| ttl.as_secs()),
            ended: None,
            earlier: Vec::new(),
        }
    }

    /// How it ended, and everything known about it.
    pub(super) fn ran(self, outcome: Outcome, adopted: bool) -> Ran {
        let started_at = Some(self.started());
        Ran { outcome, tries: self.try_number, adopted, started_at, earlier: self.earlier }
    }

    pub(super) fn started(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.started_ms)
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        self.process = None;
        self.ended = Some(Ended { at_ms: milliseconds(SystemTime::now()), outcome });
    }

    /// When it may be removed, in milliseconds since 1970; `None` if never, or not yet known.
    pub(super) fn expires_ms(&self) -> Option<u64> {
        Some(self.ended.as_ref()?.at_ms + self.ttl_seconds? * 1000)
    }
}

impl Known for Record {
    fn event(&self) -> &str {
        &self.event
    }

    fn outcome(&self) -> Option<Outcome> {
        self.ended.as_ref().map(|ended| ended.outcome.clone())
    }
}

/// The newest record of a file.
pub(super) fn last(bytes: &[u8]) -> Option<Record> {
    bytes.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice(line).ok())
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
