//! JSON as Go's encoder writes it: keys sorted, floats in Go's form.

use std::fmt::Write as _;

use super::super::budget::Budget;
use super::super::error::{Fault, fault};
use super::super::text::{longest_quoted, write_json_quoted};
use super::super::value::{Text, Value};

/// How JSON is written.
#[derive(Clone, Copy)]
pub(in super::super) struct Style {
    /// Escape `<`, `>` and `&`.
    pub(in super::super) html: bool,
    pretty: bool,
}

impl Style {
    pub(in super::super) const ESCAPED: Self = Self { html: true, pretty: false };
    pub(in super::super) const RAW: Self = Self { html: false, pretty: false };
    pub(in super::super) const PRETTY: Self = Self { html: true, pretty: true };
}

/// The JSON of a value.
pub(in super::super) fn written(value: &Value, style: Style, budget: &mut Budget) -> Result<String, Fault> {
    let mut writer = Writer { style, budget, out: String::new() };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer<'a> {
    style: Style,
    budget: &'a mut Budget,
    out: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Fault> {
        Budget::depth(depth)?;
        self.budget.steps(1)?;
        match value {
            Value::Nil => self.out.push_str("null"),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => {
                let _ = write!(self.out, "{value}");
            }
            Value::Float(value) if value.is_finite() => self.out.push_str(&number(*value)),
            Value::Float(_) => return fault("JSON has no number for this value"),
            Value::Text(Text { text, .. }) => self.string(text)?,
            Value::Time(time) => self.string(&time.to_string())?,
            Value::List(list) => {
                self.open('[');
                for (position, item) in list.items().iter().enumerate() {
                    self.separate(position, depth + 1)?;
                    self.value(item, depth + 1)?;
                }
                return self.close(']', list.items().is_empty(), depth);
            }
            Value::Map(map) => {
                self.open('{');
                for (position, (key, item)) in map.entries().iter().enumerate() {
                    self.separate(position, depth + 1)?;
                    self.string(key)?;
                    self.out.push_str(if self.style.pretty { ": " } else { ":" });
                    self.value(item, depth + 1)?;
                }
                return self.close('}', map.len() == 0, depth);
            }
        }
        self.budget.room(self.out.len())
    }

    fn string(&mut self, text: &str) -> Result<(), Fault> {
        self.budget.room(self.out.len().saturating_add(longest_quoted(text)))?;
        write_json_quoted(text, self.style.html, &mut self.out);
        Ok(())
    }

    fn open(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    fn separate(&mut self, position: usize, depth: usize) -> Result<(), Fault> {
        if position > 0 {
            self.out.push(',');
        }
        if self.style.pretty { self.new_line(depth) } else { Ok(()) }
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) -> Result<(), Fault> {
        if self.style.pretty && !empty {
            self.new_line(depth)?;
        }
        self.out.push(bracket);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) -> Result<(), Fault> {
        self.budget.room(self.out.len() + 2 * depth)?;
        self.out.push('\n');
        for _ in 0..depth {
            self.out.push_str("  ");
        }
        Ok(())
    }
}

/// A float as encoding/json writes it: with an exponent below 1e-6 and from 1e21 on.
pub(in super::super) fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return format!("{value}");
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent}"),
        None => format!("{digits}e+{exponent}"),
    }
}
