//! How Go writes values: `%v`, `strconv.Quote` and JSON strings.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::budget::Budget;
use super::error::Fault;
use super::value::{Value, whole};

/// What `{{ }}` prints: `%v`, with `<no value>` for nil.
pub(super) fn printed(value: &Value, budget: &mut Budget) -> Result<String, Fault> {
    match value {
        Value::Nil => Ok("<no value>".to_owned()),
        _ => formatted(value, budget),
    }
}

/// `%v`.
pub(super) fn formatted(value: &Value, budget: &mut Budget) -> Result<String, Fault> {
    let mut out = String::new();
    format(value, 0, &mut out, budget)?;
    Ok(out)
}

fn format(value: &Value, depth: usize, out: &mut String, budget: &mut Budget) -> Result<(), Fault> {
    Budget::depth(depth)?;
    budget.steps(1)?;
    match value {
        Value::Nil => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Float(value) => out.push_str(&float(*value)),
        Value::Text(text) => {
            budget.room(out.len() + text.text.len())?;
            out.push_str(&text.text);
        }
        Value::Time(time) => out.push_str(&timestamp(*time)),
        Value::List(list) => {
            out.push('[');
            for (position, item) in list.items().iter().enumerate() {
                if position > 0 {
                    out.push(' ');
                }
                format(item, depth + 1, out, budget)?;
            }
            out.push(']');
            return Ok(());
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (position, (key, item)) in map.entries().iter().enumerate() {
                if position > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                format(item, depth + 1, out, budget)?;
            }
            out.push(']');
            return Ok(());
        }
    }
    budget.room(out.len())
}

/// `fmt.Sprint`: a space between two operands if neither is a text.
pub(super) fn sprint(values: &[Value], budget: &mut Budget) -> Result<String, Fault> {
    let mut out = String::new();
    let mut text_before = true;
    for value in values {
        let is_text = matches!(value, Value::Text(_));
        if !is_text && !text_before {
            out.push(' ');
        }
        format(value, 0, &mut out, budget)?;
        text_before = is_text;
    }
    Ok(out)
}

/// A number as Go's `%v` writes a `float64`, except that whole numbers have no exponent.
pub(super) fn float(value: f64) -> String {
    if let Some(whole) = whole(value) {
        return whole.to_string();
    }
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{value}"),
    }
}

/// A time as Go prints one.
fn timestamp(time: Timestamp) -> String {
    let nanoseconds = time.subsec_nanosecond();
    let fraction = if nanoseconds == 0 { String::new() } else { format!(".{nanoseconds:09}") };
    let seconds = time.strftime("%Y-%m-%d %H:%M:%S");
    format!("{seconds}{} +0000 UTC", fraction.trim_end_matches('0'))
}

/// What a text takes at most between quotes, of Go or of JSON.
pub(super) fn longest_quoted(text: &str) -> usize {
    let most = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        b' '..=b'~' if !b"<>&".contains(&byte) => 1,
        b'\0'..=b'\x7f' => 6,
        // A part of a letter that takes six or ten in all.
        _ => 3,
    };
    text.bytes().map(most).fold(2, usize::saturating_add)
}

/// `strconv.Quote`.
pub(super) fn go_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            _ if is_printable(character) => out.push(character),
            _ => {
                let code = u32::from(character);
                let _ = match code {
                    0..0x20 | 0x7f => write!(out, "\\x{code:02x}"),
                    0..0x1_0000 => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push('"');
    out
}

/// `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space. Rust's `Debug` escapes all
/// other characters, and also quotes, backslashes and combining marks at the start.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return (' '..='~').contains(&character);
    }
    let mut probe = [0; 8];
    let after_letter = {
        probe[0] = b'a';
        let length = character.encode_utf8(&mut probe[1..]).len() + 1;
        std::str::from_utf8(&probe[..length]).unwrap_or_default()
    };
    !after_letter.escape_debug().any(|escaped| escaped == '\\')
}

/// A JSON string as Go's encoder writes it; `html` escapes `<`, `>` and `&`.
pub(super) fn json_quoted(text: &str, html: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_json_quoted(text, html, &mut out);
    out
}

/// Appends the same to `out`.
pub(super) fn write_json_quoted(text: &str, html: bool, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..'\u{20}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            '<' | '>' | '&' if html => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}
