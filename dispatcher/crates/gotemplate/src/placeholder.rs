//! Opaque tokens, which represent texts of the event while the YAML around them is parsed.
//!
//! A token is a word of letters and digits that no sender can predict. It is rendered in place of the event's text,
//! so no character of that text reaches the YAML parser. Afterwards every token in a scalar or key is replaced once
//! by its text.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use super::budget::OUTPUT;
use super::text::{go_quoted, json_quoted};
use super::value::Quoting;

/// Where tokens were replaced in a document, as JSON pointers.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// The value is only a text that YAML would have read as an integer or null.
    pub(super) bare: BTreeSet<String>,
    /// A text of the context is in the value, or in a key of the mapping.
    pub(super) filled: BTreeSet<String>,
}

/// How many bytes the texts may have that replace tokens.
pub(super) struct Room(usize);

impl Room {
    pub(super) fn new() -> Self {
        Self(OUTPUT)
    }

    fn has(&self, bytes: usize) -> Result<(), &'static str> {
        const FULL: &str = "the rendered text is larger than 2 MiB with the texts of the event in it";
        if bytes > self.0 { Err(FULL) } else { Ok(()) }
    }

    fn take(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.has(bytes)?;
        self.0 -= bytes;
        Ok(())
    }
}

/// The texts that one rendering has replaced by tokens.
pub(super) struct Tokens {
    nonce: String,
    texts: Vec<(Arc<str>, Quoting)>,
}

impl Tokens {
    pub(super) fn new() -> Self {
        // 96 random bits as letters. `q` begins no escape sequence of YAML.
        let random = uuid::Uuid::new_v4();
        let mut nonce = String::with_capacity(26);
        nonce.push('q');
        for byte in &random.as_bytes()[..12] {
            nonce.push(char::from(b'a' + (byte >> 4)));
            nonce.push(char::from(b'a' + (byte & 15)));
        }
        nonce.push('q');
        Self::with_nonce(nonce)
    }

    /// Tokens that are written like those of another rendering.
    pub(super) fn with_nonce(nonce: String) -> Self {
        Self { nonce, texts: Vec::new() }
    }

    /// The prefix of every token.
    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The token that is printed for a text of unknown origin.
    pub(super) fn opaque(&mut self, text: &Arc<str>) -> Arc<str> {
        let mut out = String::new();
        self.write(Arc::clone(text), Quoting::None, &mut out);
        out.into()
    }

    /// Returns a token for `text`.
    pub(super) fn write(&mut self, text: Arc<str>, quoting: Quoting, out: &mut String) {
        let _ = write!(out, "{}{}z", self.nonce, self.texts.len());
        self.texts.push((text, quoting));
    }

    /// JSON with a token in place of each text that is not empty.
    pub(super) fn json(&mut self, json: &str, quoting: Quoting) -> String {
        let (mut out, mut rest) = (String::with_capacity(json.len()), json);
        while let Some(start) = rest.find('"') {
            let mut texts = serde_json::Deserializer::from_str(&rest[start..]).into_iter::<String>();
            out.push_str(&rest[..=start]);
            let Some(Ok(text)) = texts.next() else {
                // Not JSON after all, so the whole text is of unknown origin.
                self.write(Arc::from(&rest[start..]), quoting, &mut out);
                return out + "\"";
            };
            if !text.is_empty() {
                self.write(text.into(), quoting, &mut out);
            }
            out.push('"');
            rest = &rest[start + texts.byte_offset()..];
        }
        out + rest
    }

    /// Whether a text contains a token.
    fn occur_in(&self, text: &str) -> bool {
        self.find_in(text).is_some()
    }

    /// The position of the first token in a text. Most texts are too short for one, or begin with it.
    fn find_in(&self, text: &str) -> Option<usize> {
        if text.len() <= self.nonce.len() {
            return None;
        }
        if text.starts_with(&self.nonce) { Some(0) } else { text.find(&self.nonce) }
    }

    /// Whether a key in a document contains a token.
    pub(super) fn occur_in_keys(&self, value: &Json) -> bool {
        match value {
            Json::Object(entries) => {
                entries.iter().any(|(key, value)| self.occur_in(key) || self.occur_in_keys(value))
            }
            Json::Array(items) => items.iter().any(|item| self.occur_in_keys(item)),
            _ => false,
        }
    }

    /// Replaces the tokens in all keys and scalars of a document. One token can stand in many places, and its text is long: all of
    /// it, with the pointers to it, has to fit into `room`.
    pub(super) fn replace(&self, document: &mut Json, room: &mut Room) -> Result<Replaced, &'static str> {
        let mut found = Replaced::default();
        self.replace_at(document, &Path::Root, &mut found, room)?;
        Ok(found)
    }

    fn replace_at(
        &self,
        value: &mut Json,
        path: &Path<'_>,
        found: &mut Replaced,
        room: &mut Room,
    ) -> Result<(), &'static str> {
        match value {
            Json::String(text) => {
                if let Some(replaced) = self.replaced(text, room)? {
                    let pointer = path.pointer(room)?;
                    if replaced.is_empty() || is_integer(&replaced) {
                        found.bare.insert(pointer.clone());
                    }
                    found.filled.insert(pointer);
                    *text = replaced;
                }
            }
            Json::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.replace_at(item, &Path::Item(path, index), found, room)?;
                }
            }
            Json::Object(entries) => {
                if entries.keys().any(|key| self.occur_in(key)) {
                    self.replace_keys(entries, room)?;
                    found.filled.insert(path.pointer(room)?);
                }
                for (key, value) in entries.iter_mut() {
                    self.replace_at(value, &Path::Entry(path, key), found, room)?;
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
        Ok(())
    }

    fn replace_keys(
        &self,
        entries: &mut serde_json::Map<String, Json>,
        room: &mut Room,
    ) -> Result<(), &'static str> {
        for (key, value) in std::mem::take(entries) {
            let key = self.replaced(&key, room)?.unwrap_or(key);
            if entries.insert(key, value).is_some() {
                return Err("two keys of a mapping are the same with this event");
            }
        }
        Ok(())
    }

    fn replaced(&self, text: &str, room: &mut Room) -> Result<Option<String>, &'static str> {
        const CUT: &str = "a text of the event was taken apart by the YAML around it";
        let Some(first) = self.find_in(text) else { return Ok(None) };
        let mut out = text[..first].to_owned();
        let mut rest = &text[first..];
        while let Some(after) = rest.strip_prefix(self.nonce.as_str()) {
            let (index, after) = after.split_once('z').ok_or(CUT)?;
            let (value, quoting) =
                index.parse().ok().and_then(|index: usize| self.texts.get(index)).ok_or(CUT)?;
            let quoted = out.ends_with('"') && after.starts_with('"');
            let before = out.len();
            room.has(value.len())?;
            match quoting {
                Quoting::Go if quoted => out.push_str(inner(&go_quoted(value))),
                Quoting::Json if quoted => out.push_str(inner(&json_quoted(value, true))),
                Quoting::RawJson if quoted => out.push_str(inner(&json_quoted(value, false))),
                _ => out.push_str(value),
            }
            room.take(out.len() - before)?;
            let next = self.find_in(after).unwrap_or(after.len());
            out.push_str(&after[..next]);
            rest = &after[next..];
        }
        Ok(Some(out))
    }
}

/// The path of a value in a document. It is rarely needed as a pointer.
enum Path<'a> {
    Root,
    Item(&'a Path<'a>, usize),
    Entry(&'a Path<'a>, &'a str),
}

impl Path<'_> {
    fn pointer(&self, room: &mut Room) -> Result<String, &'static str> {
        let mut pointer = String::new();
        self.write(&mut pointer);
        room.take(pointer.len())?;
        Ok(pointer)
    }

    /// As a JSON pointer.
    fn write(&self, pointer: &mut String) {
        match self {
            Self::Root => {}
            Self::Item(parent, index) => {
                parent.write(pointer);
                let _ = write!(pointer, "/{index}");
            }
            Self::Entry(parent, key) => {
                parent.write(pointer);
                pointer.push('/');
                if key.contains(['~', '/']) {
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                } else {
                    pointer.push_str(key);
                }
            }
        }
    }
}

/// A decimal integer that every reader reads as the same number.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (!digits.starts_with('0') || text == "0")
}

/// A quoted text without its quotes.
fn inner(quoted: &str) -> &str {
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default()
}
