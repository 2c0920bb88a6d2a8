//! YAML as sigs.k8s.io/yaml writes it: block style, keys sorted, texts quoted only if necessary.

use std::fmt::Write as _;
use std::sync::Arc;

use super::super::budget::Budget;
use super::super::error::Fault;
use super::super::text::float;
use super::super::value::{Text, Value};

/// The position of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Position {
    Key,
    /// A value on this level of indentation.
    Value(usize),
}

/// Writes one text.
pub(in super::super) type WriteText<'a> = &'a mut dyn FnMut(&Arc<str>, Position, &mut String);

/// The YAML of a value, without a line break at the end; texts and keys are written by `text`.
pub(in super::super) fn written(
    value: &Value,
    text: WriteText<'_>,
    budget: &mut Budget,
) -> Result<String, Fault> {
    let mut writer = Writer { text, budget, out: String::new() };
    writer.value(value, 0, 0)?;
    Ok(writer.out)
}

struct Writer<'a, 'b> {
    text: WriteText<'a>,
    budget: &'b mut Budget,
    out: String,
}

fn is_nested(value: &Value) -> bool {
    match value {
        Value::List(list) => !list.items().is_empty(),
        Value::Map(map) => map.len() > 0,
        _ => false,
    }
}

impl Writer<'_, '_> {
    fn value(&mut self, value: &Value, indent: usize, depth: usize) -> Result<(), Fault> {
        Budget::depth(depth)?;
        self.budget.steps(1)?;
        match value {
            Value::Nil => self.out.push_str("null"),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => {
                let _ = write!(self.out, "{value}");
            }
            Value::Float(value) if value.is_finite() => self.out.push_str(&float(*value)),
            Value::Float(value) if value.is_nan() => self.out.push_str(".nan"),
            Value::Float(value) => self.out.push_str(if *value > 0.0 { ".inf" } else { "-.inf" }),
            Value::Text(Text { text, .. }) => (self.text)(text, Position::Value(indent), &mut self.out),
            Value::Time(time) => {
                let _ = write!(self.out, "\"{time}\"");
            }
            Value::List(list) if list.items().is_empty() => self.out.push_str("[]"),
            Value::Map(map) if map.len() == 0 => self.out.push_str("{}"),
            Value::List(list) => {
                for (position, item) in list.items().iter().enumerate() {
                    self.line(position, indent)?;
                    self.out.push_str("- ");
                    self.value(item, indent + 2, depth + 1)?;
                }
                return Ok(());
            }
            Value::Map(map) => {
                for (position, (key, item)) in map.entries().iter().enumerate() {
                    self.line(position, indent)?;
                    (self.text)(key, Position::Key, &mut self.out);
                    self.out.push(':');
                    if is_nested(item) {
                        // Lists are not indented below their key.
                        let inner = indent + if matches!(item, Value::List(_)) { 0 } else { 2 };
                        self.line(1, inner)?;
                        self.value(item, inner, depth + 1)?;
                    } else {
                        self.out.push(' ');
                        self.value(item, indent + 2, depth + 1)?;
                    }
                }
                return Ok(());
            }
        }
        self.budget.room(self.out.len())
    }

    /// Starts a new line, except for the first item, which follows its parent on the same line.
    fn line(&mut self, position: usize, indent: usize) -> Result<(), Fault> {
        if position > 0 {
            self.budget.room(self.out.len() + indent)?;
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent));
        }
        Ok(())
    }
}

/// A text as Go's writer writes it: plain; as a literal block; in single quotes if plain is not possible; and in
/// double quotes if a reader would take it for something else.
pub(in super::super) fn scalar(text: &Arc<str>, position: Position, out: &mut String) {
    let special = text.chars().any(is_special);
    match position {
        _ if special || is_other_type(text) => double_quoted(text, out),
        Position::Value(indent)
            if text.contains('\n') && !text.contains(" \n") && !text.starts_with([' ', '\n']) =>
        {
            literal(text, indent, out);
        }
        _ if text.contains('\n') => double_quoted(text, out),
        _ if is_plain(text) => out.push_str(text),
        _ => {
            let _ = write!(out, "'{}'", text.replace('\'', "''"));
        }
    }
}

/// Whether a text needs no quotes.
pub(in super::super) fn is_plain(text: &str) -> bool {
    let indicator = |first: char| "-?:,[]{}#&*!|>'\"%@`".contains(first);
    let begins_badly = match text.as_bytes() {
        [b'-' | b'?' | b':', next, ..] => next.is_ascii_whitespace() || text.starts_with("---"),
        _ => text.starts_with(indicator),
    };
    let breaks = text.contains(": ") || text.contains(" #") || text.ends_with(':') || text.contains('\n');
    let spaced = text.starts_with(' ') || text.ends_with(' ');
    let odd = text.is_empty() || begins_badly || breaks || spaced || text.starts_with("...");
    !(odd || text.chars().any(is_special) || is_other_type(text))
}

/// Characters that only double quotes can hold.
fn is_special(character: char) -> bool {
    match character {
        '\n' => false,
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
        _ => character.is_control(),
    }
}

/// Whether YAML 1.1 reads the bare text as null, a boolean, a number, a date or a merge key.
fn is_other_type(text: &str) -> bool {
    const WORDS: &[&str] = &["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", "="];
    let lower = text.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) {
        return true;
    }
    let unsigned = lower.strip_prefix(['-', '+']).unwrap_or(&lower);
    if matches!(unsigned, ".inf" | ".nan") {
        return true;
    }
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return false;
    }
    let number = unsigned.replace('_', "");
    let radix = ["0x", "0o", "0b"].iter().zip([16, 8, 2]).any(|(prefix, radix)| {
        number
            .strip_prefix(prefix)
            .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix)))
    });
    let date = number.len() >= 8 && number.bytes().take(4).all(|byte| byte.is_ascii_digit()) && {
        let rest: Vec<&str> = number.splitn(3, '-').collect();
        rest.len() == 3 && rest[1].bytes().all(|byte| byte.is_ascii_digit())
    };
    let base_60 = number.contains(':')
        && number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
    radix || date || base_60 || number.parse::<f64>().is_ok()
}

fn literal(text: &str, indent: usize, out: &mut String) {
    let body = text.trim_end_matches('\n');
    out.push_str(match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent.max(2)));
            out.push_str(line);
        }
    }
}

fn double_quoted(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\0' => out.push_str("\\0"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            _ if is_special(character) => {
                let code = u32::from(character);
                let _ =
                    if code < 0x100 { write!(out, "\\x{code:02X}") } else { write!(out, "\\u{code:04X}") };
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}
