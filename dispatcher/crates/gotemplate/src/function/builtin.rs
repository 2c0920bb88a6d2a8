//! The functions of Go's text/template itself.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::LazyLock;

use super::super::compare::{equal, order};
use super::super::text::{printed, sprint};
use super::{Body, Call, Fault, Function, MANY, Value, fault};

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "and", least: 1, most: MANY, body: Body::And },
    Function { name: "or", least: 1, most: MANY, body: Body::Or },
    Function::new("not", 1, 1, |call| Ok(Value::Bool(!call.any(0).is_true()))),
    Function::new("eq", 1, MANY, eq),
    Function::new("ne", 2, 2, |call| Ok(Value::Bool(!equal(call.any(0), call.any(1))?))),
    Function::new("lt", 2, 2, |call| ordered(call, |order| order == Ordering::Less)),
    Function::new("le", 2, 2, |call| ordered(call, |order| order != Ordering::Greater)),
    Function::new("gt", 2, 2, |call| ordered(call, |order| order == Ordering::Greater)),
    Function::new("ge", 2, 2, |call| ordered(call, |order| order != Ordering::Less)),
    Function::new("print", 0, MANY, |call| {
        let text = sprint(call.arguments, call.budget)?;
        Ok(Value::text(text))
    }),
    Function::new("println", 0, MANY, println),
    Function::new("printf", 1, MANY, printf),
    Function::new("len", 1, 1, len),
    Function::new("index", 1, MANY, index),
    Function::new("call", 1, MANY, |_| fault("an event holds no functions to call")),
    Function::new("html", 0, MANY, |call| escaped(call, gotmpl::html_escape)),
    Function::new("js", 0, MANY, |call| escaped(call, gotmpl::js_escape)),
    Function::new("urlquery", 0, MANY, |call| escaped(call, gotmpl::url_encode)),
];

fn eq(call: &mut Call<'_>) -> Result<Value, Fault> {
    if call.count() < 2 {
        return fault("missing argument for comparison");
    }
    for other in &call.arguments[1..] {
        if equal(call.any(0), other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn ordered(call: &mut Call<'_>, holds: fn(Ordering) -> bool) -> Result<Value, Fault> {
    Ok(Value::Bool(order(call.any(0), call.any(1))?.is_some_and(holds)))
}

fn println(call: &mut Call<'_>) -> Result<Value, Fault> {
    let mut parts = Vec::with_capacity(call.count());
    for value in call.arguments {
        parts.push(call.formatted(value)?);
    }
    call.made(parts.join(" ") + "\n")
}

fn len(call: &mut Call<'_>) -> Result<Value, Fault> {
    let length = match call.any(0) {
        Value::Text(text) => text.text.len(),
        Value::List(list) => list.items().len(),
        Value::Map(map) => map.len(),
        other => return fault(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(call: &mut Call<'_>) -> Result<Value, Fault> {
    let mut value = call.any(0).clone();
    if matches!(value, Value::Nil) {
        return fault("index of untyped nil");
    }
    for index in &call.arguments[1..] {
        value = match (&value, index) {
            (Value::List(list), Value::Int(position)) => {
                let item = usize::try_from(*position).ok().and_then(|position| list.items().get(position));
                item.cloned().ok_or_else(out_of_range)?
            }
            (Value::Text(text), Value::Int(position)) => {
                let byte =
                    usize::try_from(*position).ok().and_then(|position| text.text.as_bytes().get(position));
                Value::Int(i64::from(*byte.ok_or_else(out_of_range)?))
            }
            (Value::Map(map), Value::Text(key)) => map.get(&key.text).unwrap_or(Value::Nil),
            (Value::Nil, _) => return fault("index of nil pointer"),
            (Value::List(_) | Value::Text(_), index) => {
                return fault(format!("cannot index slice/array with type {}", index.type_name()));
            }
            (Value::Map(_), index) => {
                return fault(format!("value has type {}; should be string", index.type_name()));
            }
            (other, _) => return fault(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

fn out_of_range() -> Fault {
    Fault::new("index out of range")
}

fn escaped(call: &mut Call<'_>, escape: fn(&str) -> String) -> Result<Value, Fault> {
    let text = match call.arguments {
        [value] => printed(value, call.budget)?,
        values => sprint(values, call.budget)?,
    };
    call.budget.room(text.len().saturating_mul(6))?;
    Ok(Value::text(escape(&text)))
}

/// The most arguments of one `printf`, its format included.
const OPERANDS: usize = 32;

/// The widest result of one `printf`, as far as its format decides.
const WIDTH: usize = 1 << 20;

/// One template for each number of arguments, because the engine offers its implementation of Go's verbs only through
/// templates.
static VERBS: LazyLock<Option<gotmpl::Template>> = LazyLock::new(|| {
    let mut source = String::new();
    for count in 1..=OPERANDS {
        let _ = write!(source, "{{{{define \"{count}\"}}}}{{{{printf");
        for operand in 0..count {
            let _ = write!(source, " (index . {operand})");
        }
        source.push_str("}}{{end}}");
    }
    gotmpl::Template::new("printf").parse(&source).ok()
});

fn printf(call: &mut Call<'_>) -> Result<Value, Fault> {
    let format = call.str(0)?;
    if let ("%q", [_, Value::Text(_)]) = (format, call.arguments) {
        return super::string::quoted(call, 1);
    }
    let width = width(format, call.arguments)?;
    if call.count() > OPERANDS {
        return fault(format!("more than {OPERANDS} arguments"));
    }
    let mut operands = Vec::with_capacity(call.count());
    operands.push(gotmpl::Value::String(format.into()));
    let floats = float_verbs(format);
    let mut size = Size::default();
    for (position, value) in call.arguments[1..].iter().enumerate() {
        let value = match (value, floats.get(position)) {
            #[expect(clippy::cast_precision_loss, reason = "the verb asks for a float64")]
            (Value::Int(whole), Some(true)) => Value::Float(*whole as f64),
            _ => value.clone(),
        };
        operands.push(foreign(&value, 0, call, &mut size)?);
    }
    // The engine makes the whole text, whatever comes of it: no more than this. A verb may name any operand.
    let times = if format.contains('[') { format.matches('%').count() } else { 1 };
    call.budget.room(size.bytes_with(width).saturating_mul(times).saturating_add(format.len()))?;
    let verbs = VERBS.as_ref().ok_or_else(|| Fault::new("not available"))?;
    let text = verbs
        .execute_template_to_string(&call.count().to_string(), &gotmpl::Value::List(operands.into()))
        .map_err(|_| Fault::new("bad format"))?;
    call.made(text)
}

/// How much a format pads; one that pads to more than `WIDTH` is refused.
fn width(format: &str, arguments: &[Value]) -> Result<usize, Fault> {
    let digits = format.split(|character: char| !character.is_ascii_digit()).filter(|run| !run.is_empty());
    let widths = digits.map(|run| run.parse().unwrap_or(WIDTH)).fold(0, usize::saturating_add);
    let stars = arguments.iter().filter_map(|argument| match argument {
        Value::Int(width) if format.contains('*') => {
            Some(usize::try_from(width.unsigned_abs()).unwrap_or(WIDTH))
        }
        _ => None,
    });
    let width = stars.fold(widths, usize::saturating_add);
    if width > WIDTH {
        return fault(format!("the format pads to more than {WIDTH} characters"));
    }
    Ok(width)
}

/// The size of operands.
#[derive(Default)]
struct Size {
    values: usize,
    maps: usize,
    text: usize,
}

impl Size {
    /// The most bytes that a verb makes of them: each value is padded, and a byte is written as `0x00 ` at most.
    fn bytes_with(&self, width: usize) -> usize {
        let values = self.values.saturating_mul(width.saturating_add(32));
        self.text.saturating_mul(5).saturating_add(values)
    }
}

/// For each operand after the format: whether its verb is one of floating-point numbers.
fn float_verbs(format: &str) -> Vec<bool> {
    let mut verbs = Vec::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            continue;
        }
        for character in characters.by_ref() {
            match character {
                '+' | '-' | '#' | ' ' | '0'..='9' | '.' => {}
                '*' => verbs.push(false),
                '%' => break,
                // Explicit operand numbers: leave the operands as they are.
                '[' => return Vec::new(),
                verb => {
                    verbs.push(matches!(verb, 'e' | 'E' | 'f' | 'F' | 'g' | 'G'));
                    break;
                }
            }
        }
    }
    verbs
}

/// The engine's form of a value.
fn foreign(
    value: &Value,
    depth: usize,
    call: &mut Call<'_>,
    size: &mut Size,
) -> Result<gotmpl::Value, Fault> {
    super::Budget::depth(depth)?;
    call.budget.steps(1)?;
    size.values += 1;
    size.maps += usize::from(matches!(value, Value::Map(map) if map.len() > 0));
    call.budget.room_of_copies(size.values, size.maps)?;
    Ok(match value {
        Value::Nil => gotmpl::Value::Nil,
        Value::Bool(value) => gotmpl::Value::Bool(*value),
        Value::Int(value) => gotmpl::Value::Int(*value),
        Value::Float(value) => gotmpl::Value::Float(*value),
        Value::Text(text) => {
            size.text = size.text.saturating_add(text.text.len());
            gotmpl::Value::String(text.text.clone())
        }
        Value::Time(_) => gotmpl::Value::String(call.formatted(value)?.into()),
        Value::List(list) => {
            let items = list.items().iter().map(|item| foreign(item, depth + 1, call, size));
            gotmpl::Value::List(items.collect::<Result<Vec<_>, _>>()?.into())
        }
        Value::Map(map) => {
            let mut entries = std::collections::BTreeMap::new();
            for (key, value) in map.entries() {
                size.text = size.text.saturating_add(key.len());
                entries.insert(key, foreign(&value, depth + 1, call, size)?);
            }
            gotmpl::Value::Map(entries.into())
        }
    })
}
