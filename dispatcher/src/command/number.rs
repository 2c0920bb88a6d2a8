//! Numbers on the command line. An error says which are allowed, and never quotes what was given.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// The longest time in seconds or milliseconds, and the largest number of other things. Clocks can add it.
pub(super) const MOST: u64 = 4_294_967_295;

/// Reads a whole number of this range.
pub(super) fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| {
        let number = text.trim().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("it must be a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Reads seconds, also parts of one, that are at least this many.
pub(super) fn seconds(least: f64) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    let range = least..=f64::from(u32::MAX);
    move |text| {
        let seconds = text.trim().parse().ok().filter(|seconds| range.contains(seconds));
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration.ok_or_else(|| {
            format!("it must be a number of seconds from {} to {}", range.start(), range.end())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_its_range_or_the_error_says_it() {
        assert_eq!(whole(1..=4_u8)(" 4 "), Ok(4));
        for text in ["0", "5", "-1", "30s", "1.0", "", "99999999999999999999"] {
            assert_eq!(whole(1..=4_u8)(text).unwrap_err(), "it must be a whole number from 1 to 4", "{text}");
        }
        assert_eq!(seconds(0.1)("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "x", "inf", "NaN", "1e300", "4294967296"] {
            let words = "it must be a number of seconds from 0.1 to 4294967295";
            assert_eq!(seconds(0.1)(text).unwrap_err(), words, "{text}");
        }
    }
}
