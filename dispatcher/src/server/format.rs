//! Numbers and times for people.

use chrono::{DateTime, TimeDelta, Utc};

/// `1,234,567`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// At most four digits and a letter: `9,999`, `12.3k`, `4.5M`.
pub(super) fn short_number(value: u64) -> String {
    match value {
        0..10_000 => number(value),
        10_000..100_000 => format!("{}.{}k", value / 1000, value % 1000 / 100),
        100_000..1_000_000 => format!("{}k", value / 1000),
        _ => format!("{}.{}M", value / 1_000_000, value % 1_000_000 / 100_000),
    }
}

/// `2026-02-27 09:15:00 UTC`.
pub(super) fn moment(at: &DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How long ago, in the largest useful unit, so that it rarely changes, and with it the page.
pub(super) fn ago(at: &DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - *at).num_seconds();
    match seconds {
        ..10 => "just now".to_owned(),
        10..60 => format!("{} s ago", seconds / 10 * 10),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// How long something took: `3 ms`, `1.24 s`, `2 min 5 s`, `3 h 4 min`.
pub(super) fn duration(time: TimeDelta) -> String {
    let ms = time.num_milliseconds().max(0);
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{} d {} h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

/// A trigger's name without the ending that all of them have.
pub(super) fn step(trigger: &str) -> &str {
    trigger.strip_suffix("-trigger").unwrap_or(trigger)
}

/// At most this many characters, with a mark if it was cut.
pub(super) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some(_) => text.chars().take(characters.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_and_stay_short() {
        let shown = [0, 999, 1000, 9_999, 12_345, 123_456, 1_234_567].map(|n| (number(n), short_number(n)));
        let expected = [
            ("0", "0"),
            ("999", "999"),
            ("1,000", "1,000"),
            ("9,999", "9,999"),
            ("12,345", "12.3k"),
            ("123,456", "123k"),
            ("1,234,567", "1.2M"),
        ];
        assert_eq!(shown, expected.map(|(long, short)| (long.to_owned(), short.to_owned())));
    }

    #[test]
    fn times_read_well() {
        for (ms, expected) in
            [(0, "0 ms"), (1240, "1.24 s"), (125_000, "2 min 5 s"), (11_040_000, "3 h 4 min"), (-5, "0 ms")]
        {
            assert_eq!(duration(TimeDelta::milliseconds(ms)), expected);
        }
        let now = Utc::now();
        for (seconds, expected) in
            [(3, "just now"), (25, "20 s ago"), (130, "2 min ago"), (7300, "2 h ago"), (200_000, "2 d ago")]
        {
            assert_eq!(ago(&(now - TimeDelta::seconds(seconds)), now), expected);
        }
    }
}
