//! From how the triggers of an event ended to the answer for the bus: pure.

use std::time::Duration;

use crate::backend::Outcome;

/// How one trigger ended for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All its Jobs completed, or there was nothing to do.
    Done,
    /// For good: no repeat can help.
    Failed(Why),
    /// A repeat may help.
    TryAgain(Why),
    /// The dispatcher stops.
    Stopped,
}

/// Why a trigger did not end well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// One word for machines.
    pub class: String,
    /// One sentence for people.
    pub reason: String,
    /// The Job's own words.
    pub message: String,
    /// The exit code of the last try.
    pub exit_code: Option<i32>,
}

impl End {
    /// Whether a redelivery has nothing left to do for this trigger.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_))
    }

    /// The worse of two: what decides when a trigger has several Jobs.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed(_) => 1,
            Self::TryAgain(_) => 2,
            Self::Stopped => 3,
        }
    }
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        let why = |cause: crate::backend::Cause, exit_code, reason, report: crate::backend::Report| Why {
            class: cause.to_string(),
            reason,
            message: report.as_str().to_owned(),
            exit_code,
        };
        match outcome {
            Outcome::Complete { .. } => Self::Done,
            Outcome::Failed { cause, exit_code, message, report } => {
                Self::Failed(why(cause, exit_code, message, report))
            }
            Outcome::TryAgain { cause, exit_code, message, report } => {
                Self::TryAgain(why(cause, exit_code, message, report))
            }
            Outcome::Stopped => Self::Stopped,
        }
    }
}

/// The answer for the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Never again.
    Ack,
    /// To the dead letters, with the first reason; never again.
    DeadLetter(Why),
    /// Again after a while.
    Retry(Duration, Why),
    /// Again at once, by whoever takes it.
    HandBack,
}

/// The answer after so many deliveries, this one included.
pub fn verdict(ends: &[End], attempt: u64, max_attempts: u64) -> Verdict {
    if ends.contains(&End::Stopped) {
        return Verdict::HandBack;
    }
    let again = ends.iter().find_map(|end| if let End::TryAgain(why) = end { Some(why) } else { None });
    let failed = ends.iter().find_map(|end| if let End::Failed(why) = end { Some(why) } else { None });
    match (again, failed) {
        (Some(why), _) if attempt < max_attempts => Verdict::Retry(backoff(attempt), why.clone()),
        (_, Some(why)) => Verdict::DeadLetter(why.clone()),
        (Some(why), None) => {
            let reason = format!("given up after {attempt} attempts: {}", why.reason);
            Verdict::DeadLetter(Why { reason, ..why.clone() })
        }
        (None, None) => Verdict::Ack,
    }
}

/// 1 s, doubling to 60 s.
pub fn backoff(attempt: u64) -> Duration {
    Duration::from_secs((1 << attempt.saturating_sub(1).min(6)).min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(reason: &str) -> Why {
        Why { reason: reason.to_owned(), ..Why::default() }
    }

    #[test]
    fn the_answer_follows_from_how_the_triggers_ended() {
        let (done, failed, again) = (End::Done, End::Failed(why("bad")), End::TryAgain(why("away")));
        let table = [
            (vec![], 1, Verdict::Ack),
            (vec![done.clone(), done.clone()], 1, Verdict::Ack),
            (vec![done.clone(), failed.clone()], 1, Verdict::DeadLetter(why("bad"))),
            (vec![done.clone(), again.clone()], 1, Verdict::Retry(Duration::from_secs(1), why("away"))),
            (vec![failed.clone(), again.clone()], 3, Verdict::Retry(Duration::from_secs(4), why("away"))),
            (vec![again.clone()], 20, Verdict::DeadLetter(why("given up after 20 attempts: away"))),
            (vec![again.clone(), failed.clone()], 20, Verdict::DeadLetter(why("bad"))),
            (vec![again, End::Stopped], 20, Verdict::HandBack),
            (vec![failed, End::Stopped], 1, Verdict::HandBack),
        ];
        for (ends, attempt, expected) in table {
            assert_eq!(verdict(&ends, attempt, 20), expected, "{ends:?}");
        }
    }

    #[test]
    fn the_backoff_doubles_from_one_second_to_sixty() {
        let seconds: Vec<_> = [1, 2, 3, 6, 7, 8, 1000].map(|attempt| backoff(attempt).as_secs()).into();
        assert_eq!(seconds, [1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn the_worst_job_decides_for_its_trigger() {
        let ends = [End::Done, End::Failed(why("bad")), End::TryAgain(why("away")), End::Stopped];
        for (index, end) in ends.iter().enumerate() {
            for other in &ends[index..] {
                assert_eq!(end.clone().worse(other.clone()), *other);
                assert_eq!(other.clone().worse(end.clone()), *other);
            }
        }
    }
}
