//! Working days.

use chrono::{Datelike, Days, NaiveDate, Weekday};

/// The day itself, or the Monday after a weekend.
pub fn working_day(day: NaiveDate) -> NaiveDate {
    match day.weekday() {
        Weekday::Sat => day + Days::new(2),
        Weekday::Sun => day + Days::new(1),
        _ => day,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weekend_becomes_the_monday_after_it() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        assert_eq!(working_day(day("2025-10-10")), day("2025-10-10"));
        assert_eq!(working_day(day("2025-10-11")), day("2025-10-13"));
        assert_eq!(working_day(day("2025-10-12")), day("2025-10-13"));
    }
}
