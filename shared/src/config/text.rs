//! The texts that a variable accepts.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};
use uuid::Uuid;

use super::{FilePath, Secret};

/// The years that every database can store.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9999;

/// A type that is read from a variable's text.
pub trait FromText: Sized {
    /// Whether a text of this type may be a secret, and so must be removed from other servers' answers.
    const MAY_BE_SECRET: bool = false;

    /// Reads the text. An error says what is allowed, to follow the name of the variable, and never quotes the text.
    fn from_text(text: &str) -> std::result::Result<Self, String>;
}

impl FromText for String {
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl FromText for Secret {
    const MAY_BE_SECRET: bool = true;

    fn from_text(text: &str) -> std::result::Result<Self, String> {
        Ok(Self::from(text.to_owned()))
    }
}

impl FromText for FilePath {
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        Ok(Self::from(PathBuf::from(text)))
    }
}

impl FromText for Uuid {
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        Self::try_parse(text).map_err(|_| "is not a UUID".to_owned())
    }
}

macro_rules! whole_numbers {
    ($($ty:ty),+) => {$(
        impl FromText for $ty {
            fn from_text(text: &str) -> std::result::Result<Self, String> {
                text.parse().map_err(|_| format!("is not a whole number from {} to {}", Self::MIN, Self::MAX))
            }
        }
    )+};
}

whole_numbers!(u16, u32, NonZeroU16, NonZeroU32);

impl FromText for NaiveDate {
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        text.parse().map_err(|_| "is not a day such as 2025-10-13".to_owned())
    }
}

impl FromText for DateTime<Utc> {
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        let time = DateTime::parse_from_rfc3339(text)
            .map_err(|_| "is not an RFC 3339 time such as 2025-10-13T09:00:00Z".to_owned())?
            .with_timezone(&Utc);
        // No database stores leap seconds, so use the second before.
        let time = match time.nanosecond().checked_sub(1_000_000_000) {
            Some(nanosecond) => time.with_nanosecond(nanosecond).unwrap_or(time),
            None => time,
        };
        if YEARS.contains(&time.year()) {
            Ok(time)
        } else {
            Err(format!("is not a time of the years {} to {}", YEARS.start(), YEARS.end()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Option<String> {
        DateTime::<Utc>::from_text(text).ok().map(|time| time.to_rfc3339())
    }

    #[test]
    fn a_number_that_may_not_be_zero_says_so() {
        assert_eq!(NonZeroU16::from_text("25").unwrap().get(), 25);
        for text in ["0", "65536", "x"] {
            let words = "is not a whole number from 1 to 65535";
            assert_eq!(NonZeroU16::from_text(text).unwrap_err(), words, "{text}");
        }
        assert_eq!(NonZeroU32::from_text("0").unwrap_err(), "is not a whole number from 1 to 4294967295");
    }

    #[test]
    fn a_leap_second_is_the_second_before_it() {
        assert_eq!(time("2016-12-31T23:59:60Z").unwrap(), "2016-12-31T23:59:59+00:00");
        assert_eq!(time("2017-01-01T08:59:60.5+09:00").unwrap(), "2016-12-31T23:59:59.500+00:00");
    }

    #[test]
    fn a_time_that_no_database_can_keep_is_refused() {
        assert!(time("9999-12-31T23:59:59.999999Z").is_some());
        assert_eq!(time("9999-12-31T23:59:59-01:00"), None);
        assert_eq!(time("0000-01-01T00:00:00+01:00"), None);
        assert_eq!(time("yesterday"), None);
    }
}
