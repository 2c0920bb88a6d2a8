//! Opaque tokens: what stands for a text of the event while the YAML around it is parsed.
//!
//! A token is a word of letters and digits that no sender can foresee. It goes into the rendered text where the
//! event's text would go, so no character of that text ever reaches the YAML parser; afterwards every token in a
//! scalar or key is replaced, once, by what it stands for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use super::text::{go_quoted, json_quoted};

/// The texts taken out of one rendering.
pub(super) struct Tokens {
    nonce: String,
    texts: Vec<(Arc<str>, Quoting)>,
}

/// How the text would have been written between its quotes. It matters when the quotes are still there after the YAML
/// was parsed, as in a block scalar or in JSON inside a quoted scalar: then the text is escaped as they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoting {
    None,
    Go,
    Json,
    /// JSON with `<`, `>` and `&` left as they are.
    RawJson,
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

    /// Tokens that are written as those of another rendering.
    pub(super) fn with_nonce(nonce: String) -> Self {
        Self { nonce, texts: Vec::new() }
    }

    /// What every token begins with.
    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The token that is printed for a text of unknown origin.
    pub(super) fn opaque(&mut self, text: &Arc<str>) -> Arc<str> {
        let mut out = String::new();
        self.write(Arc::clone(text), Quoting::None, &mut out);
        out.into()
    }

    /// Writes a token for `text`.
    pub(super) fn write(&mut self, text: Arc<str>, quoting: Quoting, out: &mut String) {
        let _ = write!(out, "{}{}z", self.nonce, self.texts.len());
        self.texts.push((text, quoting));
    }

    /// JSON with a token in the place of each text that is not empty.
    pub(super) fn json(&mut self, json: &str, quoting: Quoting) -> String {
        let (mut out, mut rest) = (String::with_capacity(json.len()), json);
        while let Some(start) = rest.find('"') {
            let mut texts = serde_json::Deserializer::from_str(&rest[start..]).into_iter::<String>();
            out.push_str(&rest[..=start]);
            let Some(Ok(text)) = texts.next() else {
                // No JSON after all: then all of it is a text of unknown origin.
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

    /// Whether a text holds a token.
    fn occur_in(&self, text: &str) -> bool {
        self.find_in(text).is_some()
    }

    /// Where the first token of a text begins. Most texts are too short for one, or begin with it.
    fn find_in(&self, text: &str) -> Option<usize> {
        if text.len() <= self.nonce.len() {
            return None;
        }
        if text.starts_with(&self.nonce) { Some(0) } else { text.find(&self.nonce) }
    }

    /// Whether a key in a document holds a token.
    pub(super) fn occur_in_keys(&self, value: &Json) -> bool {
        match value {
            Json::Object(entries) => {
                entries.iter().any(|(key, value)| self.occur_in(key) || self.occur_in_keys(value))
            }
            Json::Array(items) => items.iter().any(|item| self.occur_in_keys(item)),
            _ => false,
        }
    }

    /// Replaces the tokens in all keys and scalars of a document. Gives back where a text stands alone that YAML would have
    /// read as an integer or as nothing, as JSON pointers.
    pub(super) fn replace(&self, document: &mut Json) -> Result<BTreeSet<String>, &'static str> {
        let mut bare = BTreeSet::new();
        self.replace_at(document, &Path::Root, &mut bare)?;
        Ok(bare)
    }

    fn replace_at(
        &self,
        value: &mut Json,
        path: &Path<'_>,
        bare: &mut BTreeSet<String>,
    ) -> Result<(), &'static str> {
        match value {
            Json::String(text) => {
                if let Some(replaced) = self.replaced(text)? {
                    if replaced.is_empty() || is_integer(&replaced) {
                        let mut pointer = String::new();
                        path.write(&mut pointer);
                        bare.insert(pointer);
                    }
                    *text = replaced;
                }
            }
            Json::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.replace_at(item, &Path::Item(path, index), bare)?;
                }
            }
            Json::Object(entries) => {
                if entries.keys().any(|key| self.occur_in(key)) {
                    self.replace_keys(entries)?;
                }
                for (key, value) in entries.iter_mut() {
                    self.replace_at(value, &Path::Entry(path, key), bare)?;
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
        Ok(())
    }

    fn replace_keys(&self, entries: &mut serde_json::Map<String, Json>) -> Result<(), &'static str> {
        for (key, value) in std::mem::take(entries) {
            let key = self.replaced(&key)?.unwrap_or(key);
            if entries.insert(key, value).is_some() {
                return Err("two keys of a mapping are the same with this event");
            }
        }
        Ok(())
    }

    fn replaced(&self, text: &str) -> Result<Option<String>, &'static str> {
        const CUT: &str = "a text of the event was taken apart by the YAML around it";
        let Some(first) = self.find_in(text) else { return Ok(None) };
        let mut out = text[..first].to_owned();
        let mut rest = &text[first..];
        while let Some(after) = rest.strip_prefix(self.nonce.as_str()) {
            let (index, after) = after.split_once('z').ok_or(CUT)?;
            let (value, quoting) =
                index.parse().ok().and_then(|index: usize| self.texts.get(index)).ok_or(CUT)?;
            let quoted = out.ends_with('"') && after.starts_with('"');
            match quoting {
                Quoting::Go if quoted => out.push_str(inner(&go_quoted(value))),
                Quoting::Json if quoted => out.push_str(inner(&json_quoted(value, true))),
                Quoting::RawJson if quoted => out.push_str(inner(&json_quoted(value, false))),
                _ => out.push_str(value),
            }
            let next = self.find_in(after).unwrap_or(after.len());
            out.push_str(&after[..next]);
            rest = &after[next..];
        }
        Ok(Some(out))
    }
}

/// Where a value stands in a document. Most are never asked for it.
enum Path<'a> {
    Root,
    Item(&'a Path<'a>, usize),
    Entry(&'a Path<'a>, &'a str),
}

impl Path<'_> {
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

/// A decimal integer that every reader reads as that number.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (!digits.starts_with('0') || text == "0")
}

/// A quoted text without its quotes.
fn inner(quoted: &str) -> &str {
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default()
}
