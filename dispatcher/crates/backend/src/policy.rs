//! Decides what follows the end of a try, from `podFailurePolicy`, `backoffLimit` and the exit codes. Pure.

use std::time::{Duration, SystemTime};

use shared::error::Class;

use super::{Failure, FailureClass, Outcome, Report, Try};
use rules::plan::{FailureAction, JobSpec};

/// Kubernetes waits at most this long between two tries.
const LONGEST_BACKOFF: Duration = Duration::from_mins(6);

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
    /// Killed because it used more memory than allowed.
    #[cfg_attr(not(feature = "docker"), expect(dead_code, reason = "only an engine says so"))]
    OutOfMemory,
    /// It ended while no dispatcher could see it, and left no result.
    Unseen,
}

impl Exit {
    /// From the exit code that a container runtime reports.
    pub(super) const fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(128 + signal),
            Self::OutOfMemory => Some(137),
            Self::Unseen => None,
        }
    }

    pub(super) const fn is_success(self) -> bool {
        matches!(self, Self::Code(0))
    }

    /// An adopted process is not our child, so its exit code is unknown: its own result line says how it ended.
    pub(super) fn or_report(self, report: &Report) -> Self {
        match (self, report.exit_code()) {
            (Self::Unseen, Some(code)) => Self::Code(code),
            _ => self,
        }
    }

    /// Whether the same Job may succeed later: it said so (75), or something outside ended it.
    fn retry_helps(self) -> bool {
        match self {
            Self::Code(code) => Class::from_exit_code(code).is_some_and(Class::retry),
            // SIGHUP, SIGINT, SIGKILL, SIGTERM: people and machines send these, bugs do not.
            Self::Signal(signal) => matches!(signal, 1 | 2 | 9 | 15),
            Self::OutOfMemory | Self::Unseen => true,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Code(code) => format!("exit code {code}"),
            Self::Signal(signal) => format!("ended by signal {signal}"),
            Self::OutOfMemory => "killed, out of memory (resources.limits.memory)".to_owned(),
            Self::Unseen => "ended unseen".to_owned(),
        }
    }
}

/// What follows a try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    End(Outcome),
    TryAfter { delay: Duration, failures: u32 },
}

/// What follows a try that ended by itself. `failures`: how many failed tries before it count.
pub(super) fn next(spec: &JobSpec, exit: Exit, report: &Report, failures: u32, base: Duration) -> Next {
    if exit.is_success() {
        return Next::End(Outcome::Complete { report: report.clone() });
    }
    let action = exit.code().and_then(|code| spec.failure_action(code)).unwrap_or(FailureAction::Count);
    let failures = match action {
        FailureAction::FailJob => return Next::End(failed(FailureClass::PodFailurePolicy, exit, report)),
        FailureAction::Ignore => failures,
        FailureAction::Count => failures + 1,
    };
    if failures > spec.backoff_limit {
        return Next::End(failed(FailureClass::BackoffLimitExceeded, exit, report));
    }
    Next::TryAfter { delay: backoff(base, failures.max(1)), failures }
}

/// The outcome of a Job that exceeded its time limit.
pub(super) fn overdue(spec: &JobSpec, exit: Exit, report: Report) -> Outcome {
    let limit = spec.active_deadline.unwrap_or_default().as_secs();
    let message = format!("the Job took longer than its {limit} s (activeDeadlineSeconds)");
    // Usually a server hung, and that passes.
    Outcome::TryAgain(Failure {
        class: FailureClass::DeadlineExceeded,
        exit_code: exit.code(),
        message,
        report,
    })
}

fn failed(class: FailureClass, exit: Exit, report: &Report) -> Outcome {
    let (exit_code, message, report) = (exit.code(), words(exit, report), report.clone());
    let retry = class == FailureClass::BackoffLimitExceeded && exit.retry_helps();
    Failure { class, exit_code, message, report }.outcome(retry)
}

/// What is kept of a failed try if another one follows.
pub(super) fn earlier(exit: Exit, report: &Report, ended_at: SystemTime) -> Try {
    Try { ended_at: ended_at.into(), exit_code: exit.code(), message: words(exit, report) }
}

fn words(exit: Exit, report: &Report) -> String {
    match report.message() {
        Some(said) => format!("{}: {said}", exit.words()),
        None => exit.words(),
    }
}

fn backoff(base: Duration, failures: u32) -> Duration {
    base.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_BACKOFF)
}
