//! Sprig's arithmetic and its conversions between texts and numbers.

use super::{Call, Fault, Function, MANY, Value, fault};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("int", 1, 1, |call| Ok(Value::Int(to_int(call.any(0))))),
    Function::new("int64", 1, 1, |call| Ok(Value::Int(to_int(call.any(0))))),
    Function::new("float64", 1, 1, |call| Ok(Value::Float(to_float(call.any(0))))),
    Function::new("atoi", 1, 1, |call| Ok(Value::Int(call.str(0)?.parse().unwrap_or(0)))),
    Function::new("toDecimal", 1, 1, to_decimal),
    Function::new("add", 0, MANY, |call| {
        Ok(Value::Int(call.arguments.iter().map(to_int).fold(0, i64::wrapping_add)))
    }),
    Function::new("add1", 1, 1, |call| Ok(Value::Int(to_int(call.any(0)).wrapping_add(1)))),
    Function::new("sub", 2, 2, |call| Ok(Value::Int(to_int(call.any(0)).wrapping_sub(to_int(call.any(1)))))),
    Function::new("mul", 1, MANY, |call| {
        Ok(Value::Int(call.arguments.iter().map(to_int).fold(1, i64::wrapping_mul)))
    }),
    Function::new("div", 2, 2, |call| divided(call, i64::checked_div)),
    Function::new("mod", 2, 2, |call| divided(call, i64::checked_rem)),
    Function::new("max", 1, MANY, |call| {
        Ok(Value::Int(call.arguments.iter().map(to_int).max().unwrap_or(0)))
    }),
    Function::new("biggest", 1, MANY, |call| {
        Ok(Value::Int(call.arguments.iter().map(to_int).max().unwrap_or(0)))
    }),
    Function::new("min", 1, MANY, |call| {
        Ok(Value::Int(call.arguments.iter().map(to_int).min().unwrap_or(0)))
    }),
    Function::new("addf", 0, MANY, |call| Ok(decimal(call.arguments.iter().map(to_float).sum()))),
    Function::new("add1f", 1, 1, |call| Ok(decimal(to_float(call.any(0)) + 1.0))),
    Function::new("subf", 1, MANY, |call| folded(call, |left, right| left - right)),
    Function::new("mulf", 1, MANY, |call| folded(call, |left, right| left * right)),
    Function::new("divf", 1, MANY, |call| folded(call, |left, right| left / right)),
    Function::new("maxf", 1, MANY, |call| folded(call, f64::max)),
    Function::new("minf", 1, MANY, |call| folded(call, f64::min)),
    Function::new("ceil", 1, 1, |call| Ok(Value::Float(to_float(call.any(0)).ceil()))),
    Function::new("floor", 1, 1, |call| Ok(Value::Float(to_float(call.any(0)).floor()))),
    Function::new("round", 2, 3, round),
];

/// Sprig's `int`: 0 for a value that is not a number.
#[expect(clippy::cast_possible_truncation, reason = "Go truncates too")]
pub(super) fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(value) => *value,
        Value::Float(value) => *value as i64,
        Value::Bool(value) => i64::from(*value),
        Value::Text(text) => int_of(&text.text),
        _ => 0,
    }
}

/// A Go integer literal, or a number with only zeros after the point.
fn int_of(text: &str) -> i64 {
    let text = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    };
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return 0;
    }
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    i64::from_str_radix(&signed, radix).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "Go converts to float64 too")]
pub(super) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Int(value) => *value as f64,
        Value::Float(value) => *value,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Text(text) => text.text.parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

/// Sprig computes these in decimal. 15 digits hide the rounding of binary fractions.
fn decimal(value: f64) -> Value {
    Value::Float(format!("{value:.14e}").parse().unwrap_or(value))
}

#[expect(clippy::unnecessary_wraps, reason = "the type of functions")]
fn folded(call: &mut Call<'_>, fold: fn(f64, f64) -> f64) -> Result<Value, Fault> {
    let mut numbers = call.arguments.iter().map(to_float);
    let first = numbers.next().unwrap_or(0.0);
    Ok(decimal(numbers.fold(first, fold)))
}

fn divided(call: &mut Call<'_>, divide: fn(i64, i64) -> Option<i64>) -> Result<Value, Fault> {
    let (left, right) = (to_int(call.any(0)), to_int(call.any(1)));
    match (divide(left, right), right) {
        (Some(result), _) => Ok(Value::Int(result)),
        (None, 0) => fault("integer divide by zero"),
        (None, _) => fault("integer overflow"),
    }
}

/// `round value places [half]`.
#[expect(clippy::unnecessary_wraps, reason = "the type of functions")]
fn round(call: &mut Call<'_>) -> Result<Value, Fault> {
    let places = i32::try_from(to_int(call.any(1)).clamp(-300, 300)).unwrap_or(0);
    let half = if call.count() > 2 { to_float(call.any(2)) } else { 0.5 };
    let scale = 10f64.powi(places);
    let scaled = to_float(call.any(0)) * scale;
    let up = if scaled.is_sign_negative() { scaled.fract() > -half } else { scaled.fract() >= half };
    Ok(Value::Float(if up { scaled.ceil() } else { scaled.floor() } / scale))
}

/// Reads octal digits, as in file modes.
fn to_decimal(call: &mut Call<'_>) -> Result<Value, Fault> {
    let text = call.formatted(call.any(0))?;
    Ok(Value::Int(i64::from_str_radix(&text, 8).unwrap_or(0)))
}
