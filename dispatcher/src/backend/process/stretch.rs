//! What is done of a Job in one go, on a thread that may block: its beginning, a further try, the end of a try.
//!
//! As few goes as there can be: where Jobs are short, changing threads costs as much as what is done there.

use std::io;
use std::time::{Duration, SystemTime};

use super::super::adoption::{self, Step};
use super::super::policy::{self, Exit, Next};
use super::super::{Again, Outcome, Ran, Report};
use super::Settings;
use super::child::{self, Ended, Running};
use super::files::Files;
use super::record::Record;
use crate::plan::{JobSpec, PlannedJob};

/// One try that runs, or ran when it was last seen.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) record: Record,
    pub(super) running: Running,
    /// Another dispatcher has started it.
    pub(super) adopted: bool,
}

/// What became of a Job at the first look at its files.
#[derive(Debug)]
pub(super) enum Begun {
    /// It ended before, or cannot start.
    Ended(Ran),
    /// It runs: started now, or adopted.
    Running(Try),
    /// Another event's Job was running when it was last seen: it comes first.
    Behind(Try),
}

impl Begun {
    /// Starts the Job where nothing that is in the files stands against it.
    pub(super) fn of(settings: &Settings, files: &Files, job: &PlannedJob, again: Again) -> io::Result<Self> {
        let adopt = |record| Try { running: Running::adopt(files, &record), record, adopted: true };
        Ok(match adoption::decide(files.read()?, &job.identity, again) {
            Step::Start => match start(settings, files, Record::new(job, again), job) {
                Ok((record, running)) => Self::Running(Try { record, running, adopted: false }),
                Err(ran) => Self::Ended(ran),
            },
            Step::Report(record, outcome) => Self::Ended(record.ran(outcome, true)),
            Step::Follow(record) => Self::Running(adopt(record)),
            Step::WaitFor(record) => Self::Behind(adopt(record)),
        })
    }
}

/// What the end of a try means for its Job.
#[derive(Debug)]
pub(super) enum Settled {
    /// It is over, and that is written down.
    Ended(Ran),
    /// There is to be another try.
    TryAfter { record: Box<Record>, exit: Exit, report: Report, delay: Duration },
}

impl Settled {
    pub(super) fn of(
        files: &Files,
        mut record: Record,
        spec: &JobSpec,
        ended: &Ended,
        adopted: bool,
        backoff: Duration,
    ) -> Self {
        let report = files.report(record.attempt);
        let outcome = match *ended {
            Ended::Exited(exit) => {
                let exit = exit.or_report(&report);
                match policy::next(spec, exit, &report, record.failures, backoff) {
                    Next::End(outcome) => outcome,
                    Next::TryAfter { delay, failures } => {
                        record.failures = failures;
                        record.earlier.push(policy::earlier(exit, &report, SystemTime::now()));
                        let record = Box::new(record);
                        return Self::TryAfter { record, exit, report, delay };
                    }
                }
            }
            Ended::Overdue(exit) => policy::overdue(spec, exit, report),
            Ended::Stopped(exit) if exit.or_report(&report).is_success() => Outcome::Complete { report },
            Ended::Stopped(_) => Outcome::Stopped,
        };
        Self::Ended(end(files, record, outcome, adopted))
    }
}

/// Writes down how a Job ended.
pub(super) fn end(files: &Files, mut record: Record, outcome: Outcome, adopted: bool) -> Ran {
    if let Err(error) = files.end(&mut record, outcome.clone()) {
        // The outcome stands; only a redelivery would run the Job again, which is harmless.
        tracing::warn!(job.name = %record.job, error = %error, "the outcome was not recorded");
    }
    record.ran(outcome, adopted)
}

/// The next try, or how the Job ended because there is none.
pub(super) fn start(
    settings: &Settings,
    files: &Files,
    record: Record,
    job: &PlannedJob,
) -> Result<(Record, Running), Ran> {
    child::start(settings, files, record.clone(), job).map_err(|error| {
        let ran = Ran::from(error);
        // What was written before the start would be looked for as a process.
        if record.attempt > 0 {
            return end(files, record, ran.outcome, false);
        }
        // Where nothing ran, nothing is remembered: the same event may come again once what is missing is there.
        if let Err(error) = files.remove() {
            tracing::warn!(job.name = %record.job, error = %error, "the files of a Job were not removed");
        }
        ran
    })
}
