//! Go's comparisons, with one difference: numbers compare by value, so that 3 equals 3.0.

use std::cmp::Ordering;

use super::budget::Budget;
use super::error::{Fault, fault};
use super::value::Value;

/// The order of two numbers; `None` if one is not a number, or NaN.
fn numbers(left: &Value, right: &Value) -> Option<Ordering> {
    #[expect(clippy::cast_precision_loss, reason = "Go compares a float64 too")]
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Float(right)) => (*left as f64).partial_cmp(right),
        (Value::Float(left), Value::Int(right)) => left.partial_cmp(&(*right as f64)),
        _ => None,
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Float(_))
}

fn is_basic(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Text(_)) || is_number(value)
}

/// `eq` of two values.
pub(super) fn equal(left: &Value, right: &Value) -> Result<bool, Fault> {
    match (left, right) {
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::Text(left), Value::Text(right)) => Ok(left.text == right.text),
        (Value::Time(left), Value::Time(right)) => Ok(left == right),
        _ if is_number(left) && is_number(right) => Ok(numbers(left, right) == Some(Ordering::Equal)),
        _ if is_basic(left) || is_basic(right) => incompatible(left, right),
        _ => fault(format!("non-comparable types {} and {}", left.type_name(), right.type_name())),
    }
}

/// `lt` and its kin: the order of two values.
pub(super) fn order(left: &Value, right: &Value) -> Result<Option<Ordering>, Fault> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Ok(Some(left.text.cmp(&right.text))),
        _ if is_number(left) && is_number(right) => Ok(numbers(left, right)),
        (Value::Bool(_), Value::Bool(_)) => fault("invalid type for comparison"),
        _ if is_basic(left) && is_basic(right) => incompatible(left, right),
        _ => fault("invalid type for comparison"),
    }
}

fn incompatible<T>(left: &Value, right: &Value) -> Result<T, Fault> {
    fault(format!("incompatible types for comparison: {} and {}", left.type_name(), right.type_name()))
}

/// `reflect.DeepEqual`, with numbers by value.
pub(super) fn deep_equal(left: &Value, right: &Value, budget: &mut Budget) -> Result<bool, Fault> {
    deep_equal_at(left, right, 0, budget)
}

fn deep_equal_at(left: &Value, right: &Value, depth: usize, budget: &mut Budget) -> Result<bool, Fault> {
    Budget::depth(depth)?;
    budget.steps(1)?;
    match (left, right) {
        (Value::List(left), Value::List(right)) => {
            let (left, right) = (left.items(), right.items());
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right) {
                if !deep_equal_at(left, right, depth + 1, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Map(left), Value::Map(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (key, left) in left.entries() {
                let Some(right) = right.get(&key) else { return Ok(false) };
                if !deep_equal_at(&left, &right, depth + 1, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(equal(left, right).unwrap_or(false)),
    }
}
