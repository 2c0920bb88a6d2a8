//! Sprig's functions on words: upper and lower case, splitting, wrapping, shortening.

use std::sync::Arc;

use super::string::{lower, upper};
use super::{Call, Fault, Function, Value, fault, texts};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("title", 1, 1, |call| call.made(title(call.str(0)?))),
    Function::new("untitle", 1, 1, |call| call.made(first_of_words(call.str(0)?, lower))),
    Function::new("swapcase", 1, 1, |call| call.made(call.str(0)?.chars().map(swapped).collect::<String>())),
    Function::new("initials", 1, 1, |call| {
        call.made(call.str(0)?.split_whitespace().filter_map(|word| word.chars().next()).collect::<String>())
    }),
    Function::new("snakecase", 1, 1, |call| {
        let text = joined(letters(call, 0)?, '_');
        call.made(text)
    }),
    Function::new("kebabcase", 1, 1, |call| {
        let text = joined(letters(call, 0)?, '-');
        call.made(text)
    }),
    Function::new("camelcase", 1, 1, |call| call.made(pascal(call.str(0)?))),
    Function::new("split", 2, 2, |call| {
        let parts = parts(call, call.str(1)?, usize::MAX)?;
        numbered(call, &parts)
    }),
    Function::new("splitn", 3, 3, |call| {
        let most = usize::try_from(call.int(1)?).unwrap_or(usize::MAX);
        let parts = if most == 0 { Vec::new() } else { parts(call, call.str(2)?, most)? };
        numbered(call, &parts)
    }),
    Function::new("splitList", 2, 2, |call| {
        let parts = parts(call, call.str(1)?, usize::MAX)?;
        call.made_list(texts(parts))
    }),
    Function::new("abbrev", 2, 2, |call| {
        let width = call.int(0)?;
        let text = abbreviated(letters(call, 1)?, 0, width);
        call.made(text)
    }),
    Function::new("abbrevboth", 3, 3, |call| {
        let (left, right) = (call.int(0)?, call.int(1)?);
        let text = abbreviated(letters(call, 2)?, left, right);
        call.made(text)
    }),
    Function::new("wrap", 2, 2, |call| {
        let width = call.int(0)?;
        let text = wrapped(letters(call, 1)?, width, "\n", false);
        call.made(text)
    }),
    Function::new("wrapWith", 3, 3, wrap_with),
];

/// A text whose letters are looked at one by one, each in a room of its own.
fn letters<'a>(call: &mut Call<'a>, position: usize) -> Result<&'a str, Fault> {
    let text = call.str(position)?;
    call.budget.room(text.len().saturating_mul(size_of::<char>()))?;
    Ok(text)
}

/// `strings.Title`: a letter after anything but a letter, digit, underscore or apostrophe-less ASCII separator.
fn title(text: &str) -> String {
    let mut after_separator = true;
    let mut titled = String::with_capacity(text.len());
    for character in text.chars() {
        titled.push(if after_separator { upper(character) } else { character });
        after_separator = match character {
            _ if character.is_alphanumeric() || character == '_' => false,
            _ => character.is_ascii() || character.is_whitespace(),
        };
    }
    titled
}

fn first_of_words(text: &str, change: fn(char) -> char) -> String {
    let mut first = true;
    let changed = text.chars().map(|character| {
        let mapped = if first { change(character) } else { character };
        first = character.is_whitespace();
        mapped
    });
    changed.collect()
}

fn swapped(character: char) -> char {
    if character.is_uppercase() { lower(character) } else { upper(character) }
}

/// Words in lower case between separators: a new word begins at a space, `-`, `_`, and where lower case turns upper.
fn joined(text: &str, separator: char) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    for (position, &character) in characters.iter().enumerate() {
        if matches!(character, ' ' | '-' | '_') {
            if !out.ends_with(separator) {
                out.push(separator);
            }
            continue;
        }
        if character.is_uppercase() && position > 0 && !out.ends_with(separator) {
            let before = characters[position - 1];
            let begins_word = characters.get(position + 1).is_some_and(|next| next.is_lowercase());
            if before.is_lowercase() || before.is_numeric() || (before.is_uppercase() && begins_word) {
                out.push(separator);
            }
        }
        out.push(lower(character));
    }
    out
}

fn pascal(text: &str) -> String {
    let words = text.split(['_', '-', ' ']);
    words.map(|word| first_of_words(word, upper)).collect()
}

/// Splits by the first argument, as Go does: an empty separator splits into characters. The budget pays for each part
/// as a value.
fn parts<'a>(call: &mut Call<'a>, text: &'a str, most: usize) -> Result<Vec<&'a str>, Fault> {
    let separator = call.str(0)?;
    if !separator.is_empty() {
        call.budget.values(text.matches(separator).count().saturating_add(1).min(most))?;
        return Ok(text.splitn(most, separator).collect());
    }
    let count = text.chars().count().min(most);
    call.budget.values(count)?;
    let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).take(count).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    Ok(starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect())
}

/// Sprig's form of split texts: a map with the keys `_0`, `_1` and so on.
fn numbered(call: &mut Call<'_>, parts: &[&str]) -> Result<Value, Fault> {
    call.budget.steps(parts.len())?;
    // The keys are texts as well.
    call.budget.values(parts.len())?;
    let entries = parts.iter().enumerate();
    Ok(Value::map(
        entries.map(|(index, part)| (Arc::from(format!("_{index}")), Value::text(*part))).collect(),
    ))
}

/// Shortens a text to `width` characters with dots, from `offset` on.
fn abbreviated(text: &str, offset: i64, width: i64) -> String {
    let characters: Vec<char> = text.chars().collect();
    let (Ok(mut offset), Ok(width)) = (usize::try_from(offset.max(0)), usize::try_from(width)) else {
        return text.to_owned();
    };
    if width < 4 || (offset > 0 && width < 7) || characters.len() <= width {
        return text.to_owned();
    }
    let room = width - 3;
    offset = offset.min(characters.len() - room);
    if offset <= 4 {
        return characters[..room].iter().collect::<String>() + "...";
    }
    let shown = if offset + room < characters.len() {
        let end = offset + room.saturating_sub(3);
        characters[offset..end].iter().collect::<String>() + "..."
    } else {
        characters[characters.len() - room..].iter().collect()
    };
    format!("...{shown}")
}

fn wrap_with(call: &mut Call<'_>) -> Result<Value, Fault> {
    let (width, separator, text) = (call.int(0)?, call.str(1)?, letters(call, 2)?);
    let most = text.chars().count().saturating_add(1).saturating_mul(separator.len().max(1));
    call.budget.room(most)?;
    if width > i64::from(i32::MAX) {
        return fault("the width is too large");
    }
    call.made(wrapped(text, width, separator, true))
}

/// Breaks lines at spaces; breaks words that are longer than a line only on request.
fn wrapped(text: &str, width: i64, separator: &str, break_words: bool) -> String {
    let characters: Vec<char> = text.chars().collect();
    let width = usize::try_from(width).unwrap_or(0).max(1);
    let separator = if separator.is_empty() { "\n" } else { separator };
    let mut out = String::new();
    let mut offset = 0;
    while characters.len() - offset > width {
        if characters[offset] == ' ' {
            offset += 1;
            continue;
        }
        let end = offset + width;
        let last_space = characters[offset..=end].iter().rposition(|character| *character == ' ');
        let (stop, next) = match last_space {
            Some(space) => (offset + space, offset + space + 1),
            None if break_words => (end, end),
            None => match characters[end..].iter().position(|character| *character == ' ') {
                Some(space) => (end + space, end + space + 1),
                None => break,
            },
        };
        out.extend(&characters[offset..stop]);
        out.push_str(separator);
        offset = next;
    }
    out.extend(&characters[offset..]);
    out
}
