//! JSON, YAML, TOML and base encodings.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::super::data::{json, toml, yaml};
use super::super::value::Quoting;
use super::super::value::{Emission, Text};
use super::{Call, Fault, Function, Value, texts};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("toJson", 1, 1, |call| to_json(call, json::Style::ESCAPED)),
    Function::new("mustToJson", 1, 1, |call| to_json(call, json::Style::ESCAPED)),
    Function::new("toRawJson", 1, 1, |call| to_json(call, json::Style::RAW)),
    Function::new("mustToRawJson", 1, 1, |call| to_json(call, json::Style::RAW)),
    Function::new("toPrettyJson", 1, 1, |call| to_json(call, json::Style::PRETTY)),
    Function::new("mustToPrettyJson", 1, 1, |call| to_json(call, json::Style::PRETTY)),
    Function::new("fromJson", 1, 1, |call| Ok(map_or_error(from_json(call)?, "JSON"))),
    Function::new("mustFromJson", 1, 1, |call| {
        let read = from_json(call)?.ok_or_else(|| Fault::new("the text is not JSON"))?;
        Ok(Value::from_json(&read))
    }),
    Function::new("fromJsonArray", 1, 1, |call| Ok(list_or_error(from_json(call)?, "JSON"))),
    Function::new("toYaml", 1, 1, to_yaml),
    Function::new("fromYaml", 1, 1, |call| Ok(map_or_error(from_yaml(call)?, "YAML"))),
    Function::new("fromYamlArray", 1, 1, |call| Ok(list_or_error(from_yaml(call)?, "YAML"))),
    Function::new("toToml", 1, 1, |call| {
        let text = toml::written(call.any(0), call.budget)?;
        Ok(Value::text(text))
    }),
    Function::new("b64enc", 1, 1, |call| {
        let bytes = bytes_of_code(call, 4, 3)?;
        call.made(STANDARD.encode(bytes))
    }),
    Function::new("b64dec", 1, 1, |call| match STANDARD.decode(call.str(0)?) {
        Ok(bytes) => call.made(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => call.made("illegal base64 data"),
    }),
    Function::new("b32enc", 1, 1, |call| {
        let bytes = bytes_of_code(call, 8, 5)?;
        call.made(base32(bytes))
    }),
    Function::new("b32dec", 1, 1, |call| match from_base32(call.str(0)?) {
        Some(bytes) => call.made(String::from_utf8_lossy(&bytes).into_owned()),
        None => call.made("illegal base32 data"),
    }),
];

/// The bytes of a text, if there is room for their code: `long` letters for `short` bytes.
fn bytes_of_code<'a>(call: &mut Call<'a>, long: usize, short: usize) -> Result<&'a [u8], Fault> {
    let bytes = call.str(0)?.as_bytes();
    call.budget.room(bytes.len().div_ceil(short).saturating_mul(long))?;
    Ok(bytes)
}

fn to_json(call: &mut Call<'_>, style: json::Style) -> Result<Value, Fault> {
    let text = json::written(call.any(0), style, call.budget)?;
    let quoting = if style.html { Quoting::Json } else { Quoting::RawJson };
    Ok(Value::Text(Text { text: text.into(), emission: Emission::Json(quoting) }))
}

fn to_yaml(call: &mut Call<'_>) -> Result<Value, Fault> {
    let value = call.any(0);
    let text = yaml::written(value, &mut yaml::scalar, call.budget)?;
    let Some(tokens) = call.tokens.as_deref_mut() else { return Ok(Value::text(text)) };
    let mut count = 0;
    let mut tokenized = |text: &Arc<str>, _: yaml::Position, out: &mut String| {
        // Quoted if Go's writer would quote or fold it, so that the YAML around it reads the same text.
        let plain = yaml::is_plain(text);
        let mark = if plain { "" } else { "\"" };
        out.push_str(mark);
        if !text.is_empty() {
            count += 1;
            tokens.write(Arc::clone(text), if plain { Quoting::None } else { Quoting::Json }, out);
        }
        out.push_str(mark);
    };
    let shape = yaml::written(value, &mut tokenized, call.budget)?;
    call.budget.values(count)?;
    Ok(call.shaped(text, shape))
}

fn from_json(call: &mut Call<'_>) -> Result<Option<Json>, Fault> {
    let text = call.str(0)?;
    // At least as many as there are values, even if these characters mean something else.
    let most = text.bytes().filter(|byte| b",:[{".contains(byte)).count() + 1;
    call.budget.values(most)?;
    call.budget.maps(text.bytes().filter(|byte| *byte == b'{').count())?;
    call.budget.text(text.len())?;
    Ok(serde_json::from_str(text).ok())
}

fn from_yaml(call: &mut Call<'_>) -> Result<Option<Json>, Fault> {
    let text = call.str(0)?;
    call.budget.steps(text.len() / 8)?;
    call.budget.text(text.len())?;
    let Ok(documents) = kyaml::parse_documents(text) else { return Ok(None) };
    let read = documents.into_iter().next().unwrap_or(Json::Null);
    paid(call, &read)?;
    Ok(Some(read))
}

/// Pays for the values of a text that was read; how many it may hold is limited.
fn paid(call: &mut Call<'_>, read: &Json) -> Result<(), Fault> {
    call.budget.values(1)?;
    match read {
        Json::Array(items) => items.iter().try_for_each(|item| paid(call, item)),
        Json::Object(entries) => {
            call.budget.maps(usize::from(!entries.is_empty()))?;
            entries.values().try_for_each(|item| paid(call, item))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Ok(()),
    }
}

/// As in Sveltos, an error becomes a map with the key `Error`.
fn map_or_error(read: Option<Json>, format: &str) -> Value {
    match read {
        Some(Json::Null) => Value::map(std::collections::BTreeMap::new()),
        Some(map @ Json::Object(_)) => Value::from_json(&map),
        Some(_) => error_map(&format!("the {format} is not a mapping")),
        None => error_map(&format!("the text is not {format}")),
    }
}

fn error_map(message: &str) -> Value {
    Value::map([(Arc::from("Error"), Value::text(message))].into())
}

/// As in Sveltos, an error becomes a list with its message.
fn list_or_error(read: Option<Json>, format: &str) -> Value {
    match read {
        Some(Json::Null) => Value::list(Vec::new()),
        Some(list @ Json::Array(_)) => Value::from_json(&list),
        Some(_) => Value::list(texts([format!("the {format} is not a list")])),
        None => Value::list(texts([format!("the text is not {format}")])),
    }
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32(bytes: &[u8]) -> String {
    let mut out = String::new();
    for block in bytes.chunks(5) {
        let mut padded = [0u8; 8];
        padded[3..3 + block.len()].copy_from_slice(block);
        let bits = u64::from_be_bytes(padded);
        let letters = (block.len() * 8).div_ceil(5);
        for position in 0..8 {
            let letter = usize::try_from(bits >> (35 - 5 * position) & 31).unwrap_or(0);
            out.push(if position < letters { char::from(BASE32[letter]) } else { '=' });
        }
    }
    out
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let letters = text.trim_end_matches('=');
    if !text.len().is_multiple_of(8) || text.len() - letters.len() > 6 {
        return None;
    }
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for letter in letters.bytes() {
        let value = BASE32.iter().position(|known| *known == letter)?;
        bits = (bits << 5 | u32::try_from(value).ok()?) & 0xffff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}
