//! The blocking parts of a Job: its start, a further try, the end of a try.
//!
//! Each is one call on a blocking thread, because a change of threads costs about as much as the work of a short Job.

use std::io;
use std::time::{Duration, SystemTime};

use super::super::adoption::{self, ExistingJobAction};
use super::super::policy::{self, Exit, Next};
use super::super::{EndedJobPolicy, Outcome, Ran, Report};
use super::Settings;
use super::child::{self, Ended, Running};
use super::files::Files;
use super::record::Record;
use rules::plan::{JobSpec, PlannedJob};

/// A try that runs, or ran when it was last seen.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) record: Record,
    pub(super) running: Running,
    /// Whether another dispatcher has started it.
    pub(super) adopted: bool,
}

/// The result of the first look at a Job's files.
#[derive(Debug)]
pub(super) enum FirstLook {
    /// It has already ended, or cannot start.
    Ended(Ran),
    /// It runs: started now, or adopted.
    Running(Try),
    /// Another event's Job was running when it was last seen: wait for its end first.
    WaitFor(Try),
}

impl FirstLook {
    /// Starts the Job, unless its files forbid it.
    pub(super) fn of(
        settings: &Settings,
        files: &Files,
        job: &PlannedJob,
        if_ended: EndedJobPolicy,
    ) -> io::Result<Self> {
        let adopt = |record| Try { running: Running::adopt(files, &record), record, adopted: true };
        Ok(match adoption::decide(files.read()?, &job.identity, if_ended) {
            ExistingJobAction::Start => match start(settings, files, Record::new(job, if_ended), job) {
                Ok((record, running)) => Self::Running(Try { record, running, adopted: false }),
                Err(ran) => Self::Ended(ran),
            },
            ExistingJobAction::Report(record, outcome) => Self::Ended(record.ran(outcome, true)),
            ExistingJobAction::Follow(record) => Self::Running(adopt(record)),
            ExistingJobAction::WaitFor(record) => Self::WaitFor(adopt(record)),
        })
    }
}

/// What the end of a try means for its Job.
#[derive(Debug)]
pub(super) enum AfterTry {
    /// The Job has ended, and its files record that.
    Ended(Ran),
    /// Another try follows.
    TryAfter { record: Box<Record>, exit: Exit, report: Report, delay: Duration },
}

impl AfterTry {
    pub(super) fn of(
        files: &Files,
        mut record: Record,
        spec: &JobSpec,
        ended: &Ended,
        adopted: bool,
        backoff: Duration,
    ) -> Self {
        let report = files.report(record.try_number);
        let outcome = match *ended {
            Ended::Left => return Self::Ended(leave(files, record, adopted)),
            Ended::Stopped(exit) => stopped(exit, report),
            // The dispatcher before has asked it to end, so this is no failure.
            Ended::Exited(exit) if record.left => stopped(exit, report),
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
        };
        Self::Ended(end(files, record, outcome, adopted))
    }
}

/// The outcome of a try that was asked to end.
fn stopped(exit: Exit, report: Report) -> Outcome {
    if exit.or_report(&report).is_success() { Outcome::Complete { report } } else { Outcome::Stopped }
}

/// Hands a Job back whose try still runs, and records that its end is no failure.
fn leave(files: &Files, mut record: Record, adopted: bool) -> Ran {
    record.left = true;
    if let Err(error) = files.write(&record) {
        // The next dispatcher adopts it anyway, and may count one failure too many.
        tracing::warn!(job.name = %record.job, error = %error, "that the process was left running was not recorded");
    }
    tracing::info!(job.name = %record.job, "left running for the next dispatcher");
    record.ran(Outcome::Stopped, adopted)
}

/// Records how a Job ended.
pub(super) fn end(files: &Files, mut record: Record, outcome: Outcome, adopted: bool) -> Ran {
    if let Err(error) = files.end(&mut record, outcome.clone()) {
        // The outcome counts anyway. A redelivery would run the Job again, which is harmless.
        tracing::warn!(job.name = %record.job, error = %error, "the outcome was not recorded");
    }
    record.ran(outcome, adopted)
}

/// Starts the next try; if that fails, returns how the Job ended.
pub(super) fn start(
    settings: &Settings,
    files: &Files,
    record: Record,
    job: &PlannedJob,
) -> Result<(Record, Running), Ran> {
    if !files.are_ours() {
        return Err(record.ran(Outcome::Stopped, false));
    }
    child::start(settings, files, record.clone(), job).map_err(|error| {
        let ran = Ran::from(error);
        // The record written before the start would make the next dispatcher look for a process.
        if record.try_number > 0 {
            return end(files, record, ran.outcome, false);
        }
        // Nothing ran, so nothing is remembered: the same event may come again after the missing thing was added.
        if let Err(error) = files.remove() {
            tracing::warn!(job.name = %record.job, error = %error, "the files of a Job were not removed");
        }
        ran
    })
}
