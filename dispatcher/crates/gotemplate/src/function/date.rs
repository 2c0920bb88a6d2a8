//! Sprig's functions on times. All times are in UTC, because an image from scratch knows no other zone.

use jiff::{SignedDuration, Timestamp};

use super::{Call, Fault, Function, Value, fault};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("now", 0, 0, |call| Ok(Value::Time(call.budget.now()))),
    Function::new("date", 2, 2, |call| written(call, call.str(0)?, 1, None)),
    Function::new("dateInZone", 3, 3, |call| written(call, call.str(0)?, 1, Some(2))),
    Function::new("date_in_zone", 3, 3, |call| written(call, call.str(0)?, 1, Some(2))),
    Function::new("htmlDate", 1, 1, |call| written(call, "2006-01-02", 0, None)),
    Function::new("htmlDateInZone", 2, 2, |call| written(call, "2006-01-02", 0, Some(1))),
    Function::new("dateModify", 2, 2, |call| modified(call, false)),
    Function::new("date_modify", 2, 2, |call| modified(call, false)),
    Function::new("mustDateModify", 2, 2, |call| modified(call, true)),
    Function::new("must_date_modify", 2, 2, |call| modified(call, true)),
    Function::new("toDate", 2, 2, |call| {
        Ok(Value::Time(read(call.str(0)?, call.str(1)?).unwrap_or(Timestamp::UNIX_EPOCH)))
    }),
    Function::new("mustToDate", 2, 2, |call| match read(call.str(0)?, call.str(1)?) {
        Some(time) => Ok(Value::Time(time)),
        None => fault("the text is not a time of this layout"),
    }),
    Function::new("unixEpoch", 1, 1, |call| {
        let seconds = time(call, 0).as_second();
        call.made(seconds.to_string())
    }),
    Function::new("ago", 1, 1, |call| {
        let passed = call.budget.now().duration_since(time(call, 0));
        call.made(go_duration(passed.as_secs()))
    }),
    Function::new("duration", 1, 1, |call| call.made(go_duration(super::math::to_int(call.any(0))))),
    Function::new("durationRound", 1, 1, |call| {
        let text = rounded(call);
        call.made(text)
    }),
];

/// Sprig accepts a time or seconds, and takes anything else as the time now.
fn time(call: &mut Call<'_>, position: usize) -> Timestamp {
    match call.any(position) {
        Value::Time(time) => *time,
        Value::Int(seconds) => Timestamp::from_second(*seconds).unwrap_or_default(),
        _ => call.budget.now(),
    }
}

fn written(call: &mut Call<'_>, layout: &str, at: usize, zone: Option<usize>) -> Result<Value, Fault> {
    if let Some(zone) = zone
        && !matches!(call.str(zone)?, "" | "UTC" | "Local")
    {
        return fault("only the zone UTC is known");
    }
    let zoned = time(call, at).to_zoned(jiff::tz::TimeZone::UTC);
    call.made(zoned.strftime(&format_of(layout)).to_string())
}

/// Go's reference time in parts, longest first, each with its `strftime` form.
const LAYOUT: &[(&str, &str)] = &[
    ("January", "%B"),
    ("Monday", "%A"),
    ("2006", "%Y"),
    ("Z07:00", "Z"),
    ("Z0700", "Z"),
    ("-07:00", "+00:00"),
    ("-0700", "+0000"),
    ("-07", "+00"),
    (".000000000", ".%9f"),
    (".000000", ".%6f"),
    (".000", ".%3f"),
    (".999999999", "%.f"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
];

/// A Go layout as a `strftime` format.
fn format_of(layout: &str) -> String {
    let mut format = String::new();
    let mut rest = layout;
    while let Some(character) = rest.chars().next() {
        if let Some((part, directive)) = LAYOUT.iter().find(|(part, _)| rest.starts_with(part)) {
            format.push_str(directive);
            rest = &rest[part.len()..];
            continue;
        }
        if character == '%' {
            format.push('%');
        }
        format.push(character);
        rest = &rest[character.len_utf8()..];
    }
    format
}

fn read(layout: &str, text: &str) -> Option<Timestamp> {
    if layout.contains("07") {
        return text.parse().ok();
    }
    let format = format_of(layout);
    let time = jiff::fmt::strtime::parse(&format, text).ok()?;
    let moment = time.to_datetime().or_else(|_| time.to_date().map(|date| date.at(0, 0, 0, 0))).ok()?;
    Some(moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// `dateModify "-1.5h" time`.
fn modified(call: &mut Call<'_>, must: bool) -> Result<Value, Fault> {
    let time = time(call, 1);
    let changed = parsed_duration(call.str(0)?).and_then(|change| time.checked_add(change).ok());
    match changed {
        Some(changed) => Ok(Value::Time(changed)),
        None if must => fault("the text is not a duration"),
        None => Ok(Value::Time(time)),
    }
}

/// A Go duration such as `-1h30m`.
fn parsed_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let unit = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let amount: f64 = rest[..unit].parse().ok()?;
        rest = &rest[unit..];
        let end =
            rest.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(rest.len());
        seconds += amount
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    SignedDuration::try_from_secs_f64(if negative { -seconds } else { seconds }).ok()
}

/// Go's `Duration.String` of whole seconds.
fn go_duration(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let total = seconds.unsigned_abs();
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// The largest unit of a duration: `2h10m5s` is `2h`.
fn rounded(call: &mut Call<'_>) -> String {
    const UNITS: &[(u64, &str)] =
        &[(31_536_000, "y"), (2_592_000, "mo"), (86_400, "d"), (3_600, "h"), (60, "m")];
    let seconds = match call.any(0) {
        Value::Text(text) => parsed_duration(&text.text).map_or(0, |duration| duration.as_secs()),
        Value::Int(nanoseconds) => nanoseconds / 1_000_000_000,
        Value::Time(time) => call.budget.now().duration_since(*time).as_secs(),
        _ => 0,
    };
    let sign = if seconds < 0 { "-" } else { "" };
    let total = seconds.unsigned_abs();
    match UNITS.iter().find(|(size, _)| total > *size) {
        Some((size, unit)) => format!("{sign}{}{unit}", total / size),
        None => format!("{sign}{total}s"),
    }
}
