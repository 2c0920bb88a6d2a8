//! Sprig's functions on lists.

use super::super::compare::deep_equal;
use super::{Call, Fault, Function, MANY, Value, fault, texts};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("list", 0, MANY, |call| call.made_list(call.arguments.to_vec())),
    Function::new("tuple", 0, MANY, |call| call.made_list(call.arguments.to_vec())),
    Function::new("first", 1, 1, |call| {
        Ok(call.items(0, "find first")?.first().cloned().unwrap_or(Value::Nil))
    }),
    Function::new("mustFirst", 1, 1, |call| {
        Ok(call.items(0, "find first")?.first().cloned().unwrap_or(Value::Nil))
    }),
    Function::new("last", 1, 1, |call| Ok(call.items(0, "find last")?.last().cloned().unwrap_or(Value::Nil))),
    Function::new("mustLast", 1, 1, |call| {
        Ok(call.items(0, "find last")?.last().cloned().unwrap_or(Value::Nil))
    }),
    Function::new("rest", 1, 1, rest),
    Function::new("mustRest", 1, 1, rest),
    Function::new("initial", 1, 1, initial),
    Function::new("mustInitial", 1, 1, initial),
    Function::new("append", 2, 2, append),
    Function::new("mustAppend", 2, 2, append),
    Function::new("push", 2, 2, append),
    Function::new("mustPush", 2, 2, append),
    Function::new("prepend", 2, 2, prepend),
    Function::new("mustPrepend", 2, 2, prepend),
    Function::new("concat", 0, MANY, concat),
    Function::new("reverse", 1, 1, reverse),
    Function::new("mustReverse", 1, 1, reverse),
    Function::new("uniq", 1, 1, uniq),
    Function::new("mustUniq", 1, 1, uniq),
    Function::new("without", 1, MANY, without),
    Function::new("mustWithout", 1, MANY, without),
    Function::new("has", 2, 2, has),
    Function::new("mustHas", 2, 2, has),
    Function::new("compact", 1, 1, compact),
    Function::new("mustCompact", 1, 1, compact),
    Function::new("slice", 1, MANY, slice),
    Function::new("mustSlice", 1, MANY, slice),
    Function::new("chunk", 2, 2, chunk),
    Function::new("mustChunk", 2, 2, chunk),
    Function::new("join", 2, 2, join),
    Function::new("sortAlpha", 1, 1, sort_alpha),
    Function::new("toStrings", 1, 1, |call| {
        let strings = strings(call, call.any(0))?;
        call.made_list(texts(strings))
    }),
    Function::new("until", 1, 1, until),
    Function::new("untilStep", 3, 3, |call| {
        let (start, stop, step) = (call.int(0)?, call.int(1)?, call.int(2)?);
        steps(call, start, stop, step)
    }),
    Function::new("seq", 0, MANY, seq),
];

fn rest(call: &mut Call<'_>) -> Result<Value, Fault> {
    let items = call.items(0, "find rest")?;
    call.made_list(items.iter().skip(1).cloned().collect())
}

fn initial(call: &mut Call<'_>) -> Result<Value, Fault> {
    let items = call.items(0, "find initial")?;
    call.made_list(items[..items.len().saturating_sub(1)].to_vec())
}

fn append(call: &mut Call<'_>) -> Result<Value, Fault> {
    let mut items = call.copied_items(0, "push")?.to_vec();
    items.push(call.any(1).clone());
    call.made_list(items)
}

fn prepend(call: &mut Call<'_>) -> Result<Value, Fault> {
    let items = call.copied_items(0, "prepend")?;
    let mut all = vec![call.any(1).clone()];
    all.extend_from_slice(items);
    call.made_list(all)
}

fn concat(call: &mut Call<'_>) -> Result<Value, Fault> {
    let mut all = Vec::new();
    for position in 0..call.count() {
        let items = call.copied_items(position, "concat")?;
        call.budget.room_of_slots(all.len() + items.len())?;
        all.extend_from_slice(items);
    }
    call.made_list(all)
}

fn reverse(call: &mut Call<'_>) -> Result<Value, Fault> {
    let items = call.items(0, "find reverse")?;
    call.made_list(items.iter().rev().cloned().collect())
}

fn contains(items: &[Value], wanted: &Value, call: &mut Call<'_>) -> Result<bool, Fault> {
    for item in items {
        if deep_equal(item, wanted, call.budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn uniq(call: &mut Call<'_>) -> Result<Value, Fault> {
    let mut kept = Vec::new();
    for item in call.items(0, "find uniq")? {
        if !contains(&kept, item, call)? {
            kept.push(item.clone());
        }
    }
    call.made_list(kept)
}

fn without(call: &mut Call<'_>) -> Result<Value, Fault> {
    let mut kept = Vec::new();
    for item in call.items(0, "find without")? {
        if !contains(&call.arguments[1..], item, call)? {
            kept.push(item.clone());
        }
    }
    call.made_list(kept)
}

fn has(call: &mut Call<'_>) -> Result<Value, Fault> {
    if matches!(call.any(1), Value::Nil) {
        return Ok(Value::Bool(false));
    }
    let items = call.items(1, "find has")?;
    let wanted = call.any(0);
    Ok(Value::Bool(contains(items, wanted, call)?))
}

fn compact(call: &mut Call<'_>) -> Result<Value, Fault> {
    let items = call.items(0, "compact")?;
    call.made_list(items.iter().filter(|item| item.is_true()).cloned().collect())
}

fn slice(call: &mut Call<'_>) -> Result<Value, Fault> {
    let items = call.items(0, "slice")?;
    if items.is_empty() {
        return Ok(Value::Nil);
    }
    let start = if call.count() > 1 { bound(call, 1)? } else { 0 };
    let end = if call.count() > 2 { bound(call, 2)? } else { items.len() };
    match items.get(start..end) {
        Some(part) => call.made_list(part.to_vec()),
        None => fault("slice bounds out of range"),
    }
}

/// A bound is an integer, or a text with one.
fn bound(call: &Call<'_>, position: usize) -> Result<usize, Fault> {
    usize::try_from(super::math::to_int(call.any(position)))
        .map_err(|_| Fault::new("slice bounds out of range"))
}

fn chunk(call: &mut Call<'_>) -> Result<Value, Fault> {
    let size = call.int(0)?;
    let items = call.items(1, "chunk")?;
    call.budget.values(items.len())?;
    let Some(size) = usize::try_from(size).ok().filter(|size| *size > 0) else {
        return fault("the size of a chunk must be positive");
    };
    call.made_list(items.chunks(size).map(|part| Value::list(part.to_vec())).collect())
}

/// Sprig's conversion of any value to a list of texts: nil items are left out, and a value that is not a list becomes
/// a list of one.
pub(super) fn strings(call: &mut Call<'_>, value: &Value) -> Result<Vec<String>, Fault> {
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::List(list) => {
            call.budget.values(list.items().len())?;
            let (mut strings, mut bytes) = (Vec::new(), 0_usize);
            for item in list.items().iter().filter(|item| !matches!(item, Value::Nil)) {
                let text = call.formatted(item)?;
                bytes = bytes.saturating_add(text.len());
                call.budget.room(bytes)?;
                strings.push(text);
            }
            // As many values, whatever becomes of them.
            call.budget.text(bytes)?;
            Ok(strings)
        }
        other => Ok(vec![call.formatted(other)?]),
    }
}

fn join(call: &mut Call<'_>) -> Result<Value, Fault> {
    let separator = call.str(0)?;
    let strings = strings(call, call.any(1))?;
    call.budget.room(separator.len().saturating_mul(strings.len()))?;
    call.made(strings.join(separator))
}

fn sort_alpha(call: &mut Call<'_>) -> Result<Value, Fault> {
    let mut strings = strings(call, call.any(0))?;
    strings.sort();
    call.made_list(texts(strings))
}

fn until(call: &mut Call<'_>) -> Result<Value, Fault> {
    let count = call.int(0)?;
    steps(call, 0, count, if count < 0 { -1 } else { 1 })
}

fn numbers(call: &mut Call<'_>, first: i64, end: i64, step: i64) -> Result<Vec<i64>, Fault> {
    let mut numbers = Vec::new();
    let mut number = first;
    while (step > 0 && number < end) || (step < 0 && number > end) {
        call.budget.steps(1)?;
        call.budget.slots(1)?;
        numbers.push(number);
        let Some(next) = number.checked_add(step) else { break };
        number = next;
    }
    Ok(numbers)
}

fn steps(call: &mut Call<'_>, first: i64, end: i64, step: i64) -> Result<Value, Fault> {
    let numbers = numbers(call, first, end, step)?;
    Ok(Value::list(numbers.into_iter().map(Value::Int).collect()))
}

fn seq(call: &mut Call<'_>) -> Result<Value, Fault> {
    let (first, step, last) = match call.count() {
        1 => (1, None, call.int(0)?),
        2 => (call.int(0)?, None, call.int(1)?),
        3 => (call.int(0)?, Some(call.int(1)?), call.int(2)?),
        _ => return call.made(""),
    };
    let step = step.unwrap_or(if last < first { -1 } else { 1 });
    let numbers = numbers(call, first, last.saturating_add(step.signum()), step)?;
    let words: Vec<String> = numbers.iter().map(i64::to_string).collect();
    call.made(words.join(" "))
}
