//! One YAML document: its value as Kubernetes reads it, and the line of each of its fields.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use super::file::File;
use super::{Position, Problem, TextPosition};

/// A document and its position.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) value: Value,
    position: Position,
    text: Arc<str>,
    /// Field path → line of its key (of its item, in a list).
    lines: Arc<HashMap<String, Lines>>,
    /// The path of this object inside its document: empty, or `items[3]` in a List.
    base: String,
}

/// The line and column of a field.
#[derive(Debug, Clone, Copy)]
struct Lines {
    key: u32,
    value: u32,
}

/// Reads all documents of a file; blank and comment-only ones are skipped, Lists are unfolded.
pub(super) fn parse(file: &File, problems: &mut Vec<Problem>) -> Vec<Document> {
    let position = Position { file: Arc::clone(&file.path), line: 0 };
    let text = match &file.text {
        Ok(text) => text.as_str(),
        Err(why) => {
            problems.push(Problem::error(&position, "", why.clone()));
            return Vec::new();
        }
    };
    let nodes: Vec<Spanned<Node>> = match serde_saphyr::from_multiple_with_options(text, kyaml::options()) {
        Ok(nodes) => nodes,
        Err(error) => {
            let line = error.location().map_or(0, |location| u32::try_from(location.line()).unwrap_or(0));
            problems.push(Problem::error(&position.at(line), "", words(&error)));
            return Vec::new();
        }
    };
    let text: Arc<str> = Arc::from(text);
    let mut documents = Vec::new();
    if nodes.is_empty() || nodes.iter().all(|node| matches!(node.value, Node::Scalar(Value::Null))) {
        let is_comment = |line: &str| line.trim_start().starts_with('#');
        // A file that is being copied is empty for a while.
        problems.push(if text.lines().any(is_comment) {
            Problem::warning(&position, "", "holds only comments: ignored")
        } else {
            Problem::error(&position, "", "is empty")
        });
    }
    for node in nodes {
        let line = line_of(&node);
        let mut lines = HashMap::new();
        let value = node.value.into_value("", &mut lines);
        if value.is_null() {
            continue;
        }
        let document = Document {
            value,
            position: position.at(line),
            text: Arc::clone(&text),
            lines: Arc::new(lines),
            base: String::new(),
        };
        if document.value.is_object() {
            document.unfold(&mut documents);
        } else if document.value.is_array() {
            problems.push(document.warning("", "is a list and no Kubernetes object: ignored"));
        } else {
            // A file that was cut off can look like this.
            problems
                .push(document.error("", "is a word or a number and no Kubernetes object: was it cut off?"));
        }
    }
    documents
}

impl Document {
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.value.get(field).and_then(Value::as_str)
    }

    pub(super) fn has_spec(&self, field: &str) -> bool {
        self.value["spec"].get(field).is_some_and(|value| !value.is_null())
    }

    pub(super) fn has_name(&self) -> bool {
        self.value["metadata"]["name"].as_str().is_some_and(|name| !name.is_empty())
    }

    /// The key by which others refer to it, such as `EventTrigger/user-saved-trigger` or
    /// `ConfigMap/default/user-saved-job`.
    pub(super) fn key(&self) -> String {
        let kind = self.text("kind").unwrap_or_default();
        let metadata = |field: &str| self.value["metadata"][field].as_str().filter(|text| !text.is_empty());
        match (kind, metadata("name")) {
            ("ConfigMap" | "Secret", Some(name)) => {
                format!("{kind}/{}/{name}", metadata("namespace").unwrap_or("default"))
            }
            ("EventSource" | "EventTrigger", Some(name)) => format!("{kind}/{name}"),
            // No object refers to this kind.
            _ => format!("{kind} at {} {}", self.position, self.base),
        }
    }

    pub(super) fn position(&self) -> Position {
        self.position.clone()
    }

    pub(super) fn error(&self, field: &str, message: impl Into<String>) -> Problem {
        Problem::error(&self.position_of(field), field, message)
    }

    pub(super) fn warning(&self, field: &str, message: impl Into<String>) -> Problem {
        Problem::warning(&self.position_of(field), field, message)
    }

    /// The position of a field; for a missing field, the position of its nearest parent.
    pub(super) fn position_of(&self, field: &str) -> Position {
        self.find(field).map_or_else(|| self.position(), |lines| self.position.at(lines.key))
    }

    /// The position of the text of a string field.
    pub(super) fn text_of(&self, field: &str) -> TextPosition {
        let Some(lines) = self.find(field) else {
            return TextPosition { first: self.position(), is_block: false };
        };
        let header = self.text.lines().nth(lines.key.saturating_sub(1) as usize).unwrap_or_default();
        let header = header.split(" #").next().unwrap_or_default().trim_end();
        let header = header.trim_end_matches(|c: char| matches!(c, '+' | '-') || c.is_ascii_digit());
        let is_block = header.ends_with(['|', '>']);
        TextPosition { first: self.position.at(if is_block { lines.key + 1 } else { lines.value }), is_block }
    }

    fn find(&self, field: &str) -> Option<Lines> {
        let mut path = match (self.base.as_str(), field) {
            ("", field) => field.to_owned(),
            (base, "") => base.to_owned(),
            (base, field) => format!("{base}.{field}"),
        };
        loop {
            if let Some(lines) = self.lines.get(&path) {
                return Some(*lines);
            }
            let cut = path.rfind(['.', '['])?;
            path.truncate(cut);
        }
    }

    /// `kubectl` applies the items of a List like separate objects. The items of a typed one, such as
    /// `EventSourceList`, may leave out kind and version, as the API server does.
    fn unfold(self, found: &mut Vec<Self>) {
        let kind = self.text("kind").and_then(|kind| kind.strip_suffix("List"));
        let (Some(kind), Some(items)) = (kind, self.value.get("items").and_then(Value::as_array)) else {
            found.push(self);
            return;
        };
        let of_list = [("kind", Some(kind)), ("apiVersion", self.text("apiVersion"))];
        for (index, item) in items.iter().enumerate() {
            let base = format!("items[{index}]");
            let line = self.lines.get(&base).map_or(self.position.line, |lines| lines.key);
            let mut value = item.clone();
            if let Some(item) = value.as_object_mut().filter(|_| !kind.is_empty()) {
                for (field, usual) in of_list {
                    if item.get(field).is_none_or(Value::is_null)
                        && let Some(usual) = usual
                    {
                        item.insert(field.to_owned(), Value::from(usual));
                    }
                }
            }
            found.push(Self {
                value,
                position: self.position.at(line),
                text: Arc::clone(&self.text),
                lines: Arc::clone(&self.lines),
                base,
            });
        }
    }
}

fn line_of<T>(spanned: &Spanned<T>) -> u32 {
    u32::try_from(spanned.referenced.line()).unwrap_or(0)
}

fn words(error: &serde_saphyr::Error) -> String {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key {key} occurs twice")
        }
        _ => format!("is not YAML as Kubernetes reads it: {}", kyaml::words(error)),
    }
}

/// A YAML node that remembers the positions of its parts.
enum Node {
    Scalar(Value),
    Sequence(Vec<Spanned<Node>>),
    Mapping(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl Node {
    fn into_value(self, path: &str, lines: &mut HashMap<String, Lines>) -> Value {
        match self {
            Self::Scalar(value) => value,
            Self::Sequence(items) => Value::Array(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| {
                        let path = format!("{path}[{index}]");
                        let line = line_of(&item);
                        lines.insert(path.clone(), Lines { key: line, value: line });
                        item.value.into_value(&path, lines)
                    })
                    .collect(),
            ),
            Self::Mapping(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let path =
                        if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
                    lines.insert(path.clone(), Lines { key: line_of(&key), value: line_of(&value) });
                    map.insert(key.value, value.value.into_value(&path, lines));
                }
                Value::Object(map)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML node")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Mapping(entries))
    }
}
