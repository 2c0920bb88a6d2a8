//! Decides from the results of an event's triggers which answer the bus gets. Pure.

use std::time::Duration;

use job::{Failure, Outcome};

/// How one trigger ended for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All its Jobs completed, or there was nothing to do.
    Done,
    /// Failed for good: a repeat cannot help.
    Failed(Failure),
    /// The attempt failed, and a repeat may help.
    TryAgain(Failure),
    /// It could not be tried, for a reason outside of the event, such as a file that is being replaced. Does not
    /// count as an attempt.
    Waits(Failure),
    /// No trigger in force takes the event, and a change of the manifests may bring one.
    Parked(Failure),
    /// The dispatcher stops.
    Stopped,
}

impl End {
    /// Whether a redelivery need not run this trigger again.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_))
    }

    /// The worse of two: it decides if a trigger has several Jobs.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed(_) => 1,
            Self::Parked(_) => 2,
            Self::Waits(_) => 3,
            Self::TryAgain(_) => 4,
            Self::Stopped => 5,
        }
    }
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete { .. } => Self::Done,
            Outcome::Failed(failure) => Self::Failed(failure),
            Outcome::TryAgain(failure) if failure.class.uses_an_attempt() => Self::TryAgain(failure),
            Outcome::TryAgain(failure) => Self::Waits(failure),
            Outcome::Stopped => Self::Stopped,
        }
    }
}

/// The answer to the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The event is handled; it never comes again.
    Ack,
    /// The event becomes a dead letter with the first failure, and never comes again.
    DeadLetter(Failure),
    /// The event comes again after a while.
    Retry {
        /// After how long.
        delay: Duration,
        /// The number of attempts so far.
        attempts: u64,
    },
    /// The event comes again after a while, for as long as a change of the manifests may bring a trigger.
    Park(Failure),
    /// The event comes again at once, for any dispatcher.
    HandBack,
}

/// The answer for an event that had `attempts` attempts before this delivery. A trigger without attempts left has
/// failed.
pub fn verdict(ends: &[End], attempts: u64) -> Verdict {
    let first = |wanted: fn(&End) -> Option<&Failure>| ends.iter().find_map(wanted).cloned();
    let failed = first(|end| if let End::Failed(why) = end { Some(why) } else { None });
    let parked = first(|end| if let End::Parked(why) = end { Some(why) } else { None });
    match ends.iter().max_by_key(|end| end.rank()) {
        Some(End::Stopped) => Verdict::HandBack,
        Some(End::TryAgain(_)) => Verdict::Retry { delay: backoff(attempts + 1), attempts: attempts + 1 },
        Some(End::Waits(_)) => Verdict::Retry { delay: WAIT, attempts },
        _ => match (parked, failed) {
            (Some(why), _) => Verdict::Park(why),
            (None, Some(why)) => Verdict::DeadLetter(why),
            (None, None) => Verdict::Ack,
        },
    }
}

/// When an event comes again that could not be tried.
const WAIT: Duration = Duration::from_secs(5);

/// The delay after this many attempts: 1 s, doubling up to 60 s.
pub fn backoff(attempts: u64) -> Duration {
    Duration::from_secs((1 << attempts.saturating_sub(1).min(6)).min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(message: &str) -> Failure {
        Failure { message: message.to_owned(), ..Failure::default() }
    }

    #[test]
    fn the_answer_follows_from_how_the_triggers_ended() {
        let (done, failed, again) = (End::Done, End::Failed(why("bad")), End::TryAgain(why("away")));
        let (waits, parked) = (End::Waits(why("no files")), End::Parked(why("no trigger")));
        let retry = |seconds, attempts| Verdict::Retry { delay: Duration::from_secs(seconds), attempts };
        let table = [
            (vec![done.clone(), done.clone()], 0, Verdict::Ack),
            (vec![done.clone(), failed.clone()], 0, Verdict::DeadLetter(why("bad"))),
            (vec![done.clone(), again.clone()], 0, retry(1, 1)),
            (vec![failed.clone(), again.clone()], 2, retry(4, 3)),
            (vec![done.clone(), waits.clone()], 7, retry(5, 7)),
            (vec![waits, again.clone()], 7, retry(60, 8)),
            (vec![done, parked.clone()], 7, Verdict::Park(why("no trigger"))),
            (vec![parked.clone(), failed.clone()], 7, Verdict::Park(why("no trigger"))),
            (vec![parked, again.clone()], 0, retry(1, 1)),
            (vec![again, End::Stopped], 19, Verdict::HandBack),
            (vec![failed, End::Stopped], 0, Verdict::HandBack),
        ];
        for (ends, attempts, expected) in table {
            assert_eq!(verdict(&ends, attempts), expected, "{ends:?}");
        }
    }

    #[test]
    fn the_backoff_doubles_from_one_second_to_sixty() {
        let seconds: Vec<_> = [1, 2, 3, 6, 7, 8, 1000].map(|attempt| backoff(attempt).as_secs()).into();
        assert_eq!(seconds, [1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn the_worst_job_decides_for_its_trigger() {
        let ends = [
            End::Done,
            End::Failed(why("bad")),
            End::Parked(why("no trigger")),
            End::Waits(why("no files")),
            End::TryAgain(why("away")),
            End::Stopped,
        ];
        for (index, end) in ends.iter().enumerate() {
            for other in &ends[index..] {
                assert_eq!(end.clone().worse(other.clone()), *other);
                assert_eq!(other.clone().worse(end.clone()), *other);
            }
        }
    }
}
