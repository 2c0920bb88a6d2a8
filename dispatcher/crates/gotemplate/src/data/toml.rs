//! TOML as Sveltos' `toToml` writes it: first plain keys, then tables, both in the order of the keys.

use std::fmt::Write as _;
use std::sync::Arc;

use super::super::budget::Budget;
use super::super::error::{Fault, fault};
use super::super::text::{float, json_quoted};
use super::super::value::{Map, Value};

/// The TOML of a map.
pub(in super::super) fn written(value: &Value, budget: &mut Budget) -> Result<String, Fault> {
    let Value::Map(map) = value else { return fault("TOML is written from a map") };
    let mut out = String::new();
    table(map, "", 0, &mut out, budget)?;
    Ok(out)
}

fn is_table_list(value: &Value) -> bool {
    match value {
        Value::List(list) => {
            !list.items().is_empty() && list.items().iter().all(|item| matches!(item, Value::Map(_)))
        }
        _ => false,
    }
}

fn table(map: &Map, path: &str, depth: usize, out: &mut String, budget: &mut Budget) -> Result<(), Fault> {
    Budget::depth(depth)?;
    budget.steps(1)?;
    let (tables, plain): (Vec<_>, Vec<_>) = map
        .entries()
        .into_iter()
        .partition(|(_, value)| matches!(value, Value::Map(_)) || is_table_list(value));
    let pad = "  ".repeat(depth.saturating_sub(1));
    for (name, value) in plain.iter().filter(|(_, value)| !matches!(value, Value::Nil)) {
        let _ = write!(out, "{pad}{} = ", key(name));
        inline(value, depth, out, budget)?;
        out.push('\n');
    }
    for (name, value) in tables {
        let path = if path.is_empty() { key(&name) } else { format!("{path}.{}", key(&name)) };
        let pad = "  ".repeat(depth);
        match &value {
            Value::Map(map) => {
                let before = if out.is_empty() { "" } else { "\n" };
                let _ = writeln!(out, "{before}{pad}[{path}]");
                budget.room(out.len())?;
                table(map, &path, depth + 1, out, budget)?;
            }
            Value::List(list) => {
                for item in list.items() {
                    let before = if out.is_empty() { "" } else { "\n" };
                    let _ = writeln!(out, "{before}{pad}[[{path}]]");
                    budget.room(out.len())?;
                    if let Value::Map(map) = item {
                        table(map, &path, depth + 1, out, budget)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn inline(value: &Value, depth: usize, out: &mut String, budget: &mut Budget) -> Result<(), Fault> {
    Budget::depth(depth)?;
    budget.steps(1)?;
    match value {
        Value::Nil => return fault("TOML has no null"),
        Value::Bool(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Float(value) => {
            let text = float(*value);
            let point = if value.fract() == 0.0 && !text.contains('e') { ".0" } else { "" };
            let _ = write!(out, "{text}{point}");
        }
        Value::Text(text) => out.push_str(&json_quoted(&text.text, false)),
        Value::Time(time) => {
            let _ = write!(out, "{time}");
        }
        Value::List(list) => {
            out.push('[');
            for (position, item) in list.items().iter().enumerate() {
                out.push_str(if position > 0 { ", " } else { "" });
                inline(item, depth + 1, out, budget)?;
            }
            out.push(']');
            return Ok(());
        }
        Value::Map(map) => {
            out.push('{');
            for (position, (name, item)) in map.entries().iter().enumerate() {
                let _ = write!(out, "{}{} = ", if position > 0 { ", " } else { "" }, key(name));
                inline(item, depth + 1, out, budget)?;
            }
            out.push('}');
            return Ok(());
        }
    }
    budget.room(out.len())
}

fn key(name: &Arc<str>) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(bare) { name.to_string() } else { json_quoted(name, false) }
}
