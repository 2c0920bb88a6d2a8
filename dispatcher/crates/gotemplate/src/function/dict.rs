//! Sprig's functions on maps. As in Go, `set`, `unset` and the merges change the map they are given.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Budget, Call, Fault, Function, MANY, Map, Value, fault, texts};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("dict", 0, MANY, dict),
    Function::new("get", 2, 2, |call| Ok(call.map(0)?.get(call.str(1)?).unwrap_or_else(|| Value::text("")))),
    Function::new("set", 3, 3, set),
    Function::new("unset", 2, 2, |call| {
        call.map(0)?.remove(call.str(1)?);
        Ok(call.any(0).clone())
    }),
    Function::new("hasKey", 2, 2, |call| Ok(Value::Bool(call.map(0)?.contains(call.str(1)?)))),
    Function::new("keys", 0, MANY, keys),
    Function::new("values", 1, 1, |call| {
        let values = call.map(0)?.entries().into_iter().map(|(_, value)| value).collect();
        call.made_list(values)
    }),
    Function::new("pick", 1, MANY, |call| chosen(call, true)),
    Function::new("omit", 1, MANY, |call| chosen(call, false)),
    Function::new("pluck", 1, MANY, pluck),
    Function::new("merge", 1, MANY, |call| merge(call, false)),
    Function::new("mustMerge", 1, MANY, |call| merge(call, false)),
    Function::new("mergeOverwrite", 1, MANY, |call| merge(call, true)),
    Function::new("mustMergeOverwrite", 1, MANY, |call| merge(call, true)),
    Function::new("dig", 3, MANY, dig),
    Function::new("deepCopy", 1, 1, |call| copied(call, call.any(0), 0)),
    Function::new("mustDeepCopy", 1, 1, |call| copied(call, call.any(0), 0)),
];

fn dict(call: &mut Call<'_>) -> Result<Value, Fault> {
    let mut entries = BTreeMap::new();
    call.budget.values(call.count() / 2 + 1)?;
    call.budget.maps(call.count().div_ceil(16))?;
    for pair in call.arguments.chunks(2) {
        let key = call.formatted(&pair[0])?;
        call.budget.text(key.len())?;
        entries.insert(Arc::from(key), pair.get(1).cloned().unwrap_or_else(|| Value::text("")));
    }
    Ok(Value::map(entries))
}

fn set(call: &mut Call<'_>) -> Result<Value, Fault> {
    let (map, key) = (call.map(0)?, call.str(1)?);
    call.budget.text(key.len())?;
    insert(call, map, Arc::from(key), call.any(2).clone())?;
    Ok(call.any(0).clone())
}

/// Puts a value into a map, unless the map would then contain itself.
fn insert(call: &mut Call<'_>, map: &Map, key: Arc<str>, value: Value) -> Result<(), Fault> {
    if reaches(call, &value, map, 0)? {
        return fault("a map cannot contain itself");
    }
    // Its key as well; and a map is half full after it was split.
    call.budget.values(2)?;
    call.budget.maps(usize::from(map.len() == 0))?;
    map.insert(key, value);
    Ok(())
}

fn reaches(call: &mut Call<'_>, value: &Value, map: &Map, depth: usize) -> Result<bool, Fault> {
    Budget::depth(depth)?;
    call.budget.steps(1)?;
    match value {
        Value::Map(inner) if inner.is(map) => Ok(true),
        Value::Map(inner) => {
            for (_, value) in inner.entries() {
                if reaches(call, &value, map, depth + 1)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::List(list) => {
            for value in list.items() {
                if reaches(call, value, map, depth + 1)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Ok(false),
    }
}

fn keys(call: &mut Call<'_>) -> Result<Value, Fault> {
    let mut keys = Vec::new();
    for position in 0..call.count() {
        call.budget.values(call.map(position)?.len())?;
        keys.extend(texts(call.map(position)?.entries().into_iter().map(|(key, _)| key)));
    }
    call.made_list(keys)
}

/// `pick` keeps the named keys, `omit` the others.
fn chosen(call: &mut Call<'_>, named: bool) -> Result<Value, Fault> {
    let entries = call.map(0)?.entries();
    call.budget.steps(entries.len())?;
    call.budget.values(entries.len())?;
    call.budget.maps(usize::from(!entries.is_empty()))?;
    let wanted = (1..call.count()).map(|position| call.str(position)).collect::<Result<Vec<_>, _>>()?;
    let kept = entries.into_iter().filter(|(key, _)| wanted.contains(&&**key) == named);
    Ok(Value::map(kept.collect()))
}

fn pluck(call: &mut Call<'_>) -> Result<Value, Fault> {
    let key = call.str(0)?;
    let mut values = Vec::new();
    for position in 1..call.count() {
        values.extend(call.map(position)?.get(key));
    }
    call.made_list(values)
}

fn merge(call: &mut Call<'_>, overwrite: bool) -> Result<Value, Fault> {
    let target = call.map(0)?;
    for position in 1..call.count() {
        let source = call.map(position)?;
        merge_into(call, target, source, overwrite, 0)?;
    }
    Ok(call.any(0).clone())
}

/// Merges as mergo does: keys that are missing or empty in the target are filled, and maps are merged. With
/// `overwrite`, non-empty values of the source win.
fn merge_into(
    call: &mut Call<'_>,
    target: &Map,
    source: &Map,
    overwrite: bool,
    depth: usize,
) -> Result<(), Fault> {
    Budget::depth(depth)?;
    for (key, value) in source.entries() {
        call.budget.steps(1)?;
        match (target.get(&key), &value) {
            (Some(Value::Map(inner)), Value::Map(other)) => {
                merge_into(call, &inner, other, overwrite, depth + 1)?;
            }
            (Some(present), _) if present.is_true() && !(overwrite && value.is_true()) => {}
            _ => insert(call, target, key, value)?,
        }
    }
    Ok(())
}

/// `dig "a" "b" default map`.
fn dig(call: &mut Call<'_>) -> Result<Value, Fault> {
    let last = call.count() - 1;
    let mut value = Value::Map(call.map(last)?.clone());
    for position in 0..last - 1 {
        let Value::Map(map) = &value else {
            return fault(format!("{} is not a map", value.type_name()));
        };
        match map.get(call.str(position)?) {
            Some(inner) => value = inner,
            None => return Ok(call.any(last - 1).clone()),
        }
    }
    Ok(value)
}

fn copied(call: &mut Call<'_>, value: &Value, depth: usize) -> Result<Value, Fault> {
    Budget::depth(depth)?;
    call.budget.steps(1)?;
    call.budget.values(1)?;
    Ok(match value {
        Value::List(list) => {
            let items = list.items().iter().map(|item| copied(call, item, depth + 1));
            Value::list(items.collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            call.budget.maps(usize::from(map.len() > 0))?;
            let mut entries = BTreeMap::new();
            for (key, value) in map.entries() {
                entries.insert(key, copied(call, &value, depth + 1)?);
            }
            Value::map(entries)
        }
        other => other.clone(),
    })
}
