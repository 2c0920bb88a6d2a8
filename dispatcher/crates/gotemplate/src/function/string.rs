//! Sprig's functions on texts.

use std::fmt::Write as _;
use std::sync::Arc;

use super::super::text::{go_quoted, longest_quoted};
use super::super::value::Quoting;
use super::{Call, Emission, Fault, Function, MANY, Text, Value, fault};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("quote", 0, MANY, |call| quoted(call, 0)),
    Function::new("squote", 0, MANY, squote),
    Function::new("cat", 0, MANY, cat),
    Function::new("lower", 1, 1, |call| call.made(call.str(0)?.chars().map(lower).collect::<String>())),
    Function::new("upper", 1, 1, |call| call.made(call.str(0)?.chars().map(upper).collect::<String>())),
    Function::new("trim", 1, 1, |call| Ok(Value::Text(relaid(call.text(0)?, |text| text.trim().to_owned())))),
    Function::new("trimAll", 2, 2, trim_all),
    Function::new("trimall", 2, 2, trim_all),
    Function::new("trimSuffix", 2, 2, |call| {
        let text = call.str(1)?;
        call.made(text.strip_suffix(call.str(0)?).unwrap_or(text))
    }),
    Function::new("trimPrefix", 2, 2, |call| {
        let text = call.str(1)?;
        call.made(text.strip_prefix(call.str(0)?).unwrap_or(text))
    }),
    Function::new("trunc", 2, 2, trunc),
    Function::new("substr", 3, 3, substr),
    Function::new("repeat", 2, 2, repeat),
    Function::new("replace", 3, 3, replace),
    Function::new("contains", 2, 2, |call| Ok(Value::Bool(call.str(1)?.contains(call.str(0)?)))),
    Function::new("hasPrefix", 2, 2, |call| Ok(Value::Bool(call.str(1)?.starts_with(call.str(0)?)))),
    Function::new("hasSuffix", 2, 2, |call| Ok(Value::Bool(call.str(1)?.ends_with(call.str(0)?)))),
    Function::new("indent", 2, 2, |call| indented(call, "")),
    Function::new("nindent", 2, 2, |call| indented(call, "\n")),
    Function::new("nospace", 1, 1, |call| call.made(call.str(0)?.split_whitespace().collect::<String>())),
    Function::new("plural", 3, 3, |call| {
        let (one, many) = (call.text(0)?, call.text(1)?);
        Ok(Value::Text(if call.int(2)? == 1 { one } else { many }.clone()))
    }),
    Function::new("toString", 1, 1, |call| {
        let text = call.formatted(call.any(0))?;
        Ok(Value::text(text))
    }),
];

/// `quote` of the arguments from `first` on.
pub(super) fn quoted(call: &mut Call<'_>, first: usize) -> Result<Value, Fault> {
    quoted_with(call, first, Quoting::Go, '"', go_quoted)
}

fn squote(call: &mut Call<'_>) -> Result<Value, Fault> {
    quoted_with(call, 0, Quoting::None, '\'', |text| format!("'{text}'"))
}

fn quoted_with(
    call: &mut Call<'_>,
    first: usize,
    quoting: Quoting,
    mark: char,
    quote: fn(&str) -> String,
) -> Result<Value, Fault> {
    let (mut text, mut shape) = (String::new(), String::new());
    for value in call.arguments.iter().skip(first).filter(|value| !matches!(value, Value::Nil)) {
        let plain = call.formatted(value)?;
        if !text.is_empty() {
            text.push(' ');
            shape.push(' ');
        }
        call.budget.room(text.len().saturating_add(longest_quoted(&plain)))?;
        text.push_str(&quote(&plain));
        shape.push(mark);
        if let (Some(tokens), false) = (call.tokens.as_deref_mut(), plain.is_empty()) {
            call.budget.values(1)?;
            tokens.write(Arc::from(plain), quoting, &mut shape);
        }
        shape.push(mark);
    }
    Ok(call.shaped(text, shape))
}

fn cat(call: &mut Call<'_>) -> Result<Value, Fault> {
    let mut out = String::new();
    for value in call.arguments.iter().filter(|value| !matches!(value, Value::Nil)) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&call.formatted(value)?);
    }
    call.made(out)
}

/// Go maps each letter to exactly one letter.
pub(super) fn lower(letter: char) -> char {
    letter.to_lowercase().next().unwrap_or(letter)
}

pub(super) fn upper(letter: char) -> char {
    let mut mapped = letter.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(single), None) => single,
        _ => letter,
    }
}

fn trim_all(call: &mut Call<'_>) -> Result<Value, Fault> {
    let set = call.str(0)?;
    call.made(call.str(1)?.trim_matches(|character| set.contains(character)))
}

/// Sprig cuts between bytes; we never cut inside a character.
fn cut(text: &str, from: usize, to: usize) -> &str {
    let (mut from, mut to) = (from.min(text.len()), to.min(text.len()));
    while !text.is_char_boundary(from) {
        from += 1;
    }
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    text.get(from..to).unwrap_or_default()
}

fn trunc(call: &mut Call<'_>) -> Result<Value, Fault> {
    let (count, text) = (call.int(0)?, call.str(1)?);
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let kept = match count {
        0.. => cut(text, 0, size),
        _ if size < text.len() => cut(text, text.len() - size, text.len()),
        _ => text,
    };
    call.made(kept)
}

fn substr(call: &mut Call<'_>) -> Result<Value, Fault> {
    let (start, end, text) = (call.int(0)?, call.int(1)?, call.str(2)?);
    let from = usize::try_from(start).unwrap_or(0);
    let to = match usize::try_from(end) {
        Ok(end) if start < 0 || end <= text.len() => end,
        Err(_) if start < 0 => return fault("slice bounds out of range"),
        _ => text.len(),
    };
    if from > to || to > text.len() {
        return fault("slice bounds out of range");
    }
    call.made(cut(text, from, to))
}

fn repeat(call: &mut Call<'_>) -> Result<Value, Fault> {
    let Ok(count) = usize::try_from(call.int(0)?) else { return fault("negative repeat count") };
    let text = call.str(1)?;
    call.budget.room(text.len().saturating_mul(count))?;
    Ok(Value::text(text.repeat(count)))
}

fn replace(call: &mut Call<'_>) -> Result<Value, Fault> {
    let (old, new, text) = (call.str(0)?, call.str(1)?, call.str(2)?);
    let hits = if old.is_empty() { text.len() + 1 } else { text.matches(old).count() };
    call.budget.room(text.len().saturating_add(hits.saturating_mul(new.len())))?;
    Ok(Value::text(text.replace(old, new)))
}

fn indented(call: &mut Call<'_>, before: &str) -> Result<Value, Fault> {
    let Ok(width) = usize::try_from(call.int(0)?) else { return fault("negative repeat count") };
    let text = call.text(1)?;
    let lines = text.text.matches('\n').count() + 1;
    call.budget.room(text.text.len().saturating_add(lines.saturating_mul(width)).saturating_mul(2))?;
    let pad = format!("\n{}", " ".repeat(width));
    let indent = |text: &str| format!("{before}{}{}", &pad[1..], text.replace('\n', &pad));
    if let (Emission::Opaque, Some(tokens)) = (&text.emission, call.tokens.as_deref_mut()) {
        // An unknown text may have more lines than the template shows, so one token represents all of them.
        call.budget.values(1)?;
        let mut shape = String::new();
        let _ = write!(shape, "{before}{}{}", &pad[1..], tokens.opaque(&text.text));
        return Ok(call.shaped(indent(&text.text), shape));
    }
    Ok(Value::Text(relaid(text, indent)))
}

/// A text of which only the white space changes keeps its origin.
fn relaid(text: &Text, change: impl Fn(&str) -> String) -> Text {
    let emission = match &text.emission {
        Emission::Shaped(shape) => Emission::Shaped(change(shape).into()),
        Emission::Json(quoting) => Emission::Json(*quoting),
        Emission::Opaque => Emission::Opaque,
        Emission::Literal => Emission::Literal,
    };
    Text { text: change(&text.text).into(), emission }
}
