//! The values a template works with, and where a text came from.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;

/// How the text would have been escaped between its quotes. It matters if the quotes are still there after the YAML
/// was parsed, as in a block scalar or in JSON inside a quoted scalar: then the text is escaped for these quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoting {
    None,
    Go,
    Json,
    /// JSON in which `<`, `>` and `&` are not escaped.
    RawJson,
}

/// Anything that a template can hold in dot, a variable or an argument.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Text),
    List(List),
    Map(Map),
    Time(Timestamp),
}

/// A text, and how it may be printed into YAML.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: Arc<str>,
    pub(super) emission: Emission,
}

/// How a safe rendering prints a text.
#[derive(Clone, Debug)]
pub(super) enum Emission {
    /// As a token: the text comes from the event, or was computed.
    Opaque,
    /// As it is: the template contains it literally.
    Literal,
    /// As it is, with a token in place of each of its texts: it is JSON that a function made.
    Json(Quoting),
    /// As this YAML, in which every text of the event is already a token.
    Shaped(Arc<str>),
}

/// A list; never changed after it was made.
#[derive(Clone, Debug)]
pub(super) struct List(Rc<Items>);

/// A map. Sprig's `set`, `unset` and `merge` change it in place, like Go's maps.
#[derive(Clone, Debug)]
pub(super) struct Map(Rc<Entries>);

#[derive(Debug)]
struct Items(Vec<Value>);

#[derive(Debug)]
struct Entries(RefCell<BTreeMap<Arc<str>, Value>>);

impl Text {
    pub(super) fn opaque(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), emission: Emission::Opaque }
    }

    pub(super) fn literal(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), emission: Emission::Literal }
    }

    /// The bytes of it that no other value has a part in.
    pub(super) fn own_bytes(&self) -> usize {
        let own = |text: &Arc<str>| if Arc::strong_count(text) == 1 { text.len() } else { 0 };
        let shape = match &self.emission {
            Emission::Shaped(shape) => own(shape),
            Emission::Opaque | Emission::Literal | Emission::Json(_) => 0,
        };
        own(&self.text) + shape
    }
}

impl Value {
    /// A text that was computed: printed as a token.
    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(Text::opaque(text))
    }

    pub(super) fn list(items: Vec<Value>) -> Self {
        Self::List(List(Rc::new(Items(items))))
    }

    pub(super) fn map(entries: BTreeMap<Arc<str>, Value>) -> Self {
        Self::Map(Map(Rc::new(Entries(RefCell::new(entries)))))
    }

    /// Go's truth: zero, empty and nil are false.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.text.is_empty(),
            Self::List(list) => !list.items().is_empty(),
            Self::Map(map) => map.len() > 0,
            Self::Time(_) => true,
        }
    }

    /// Go's `reflect` kind, with whole numbers as `int`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "invalid",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Time(_) => "struct",
        }
    }

    /// Go's type name.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Time(_) => "time.Time",
        }
    }

    /// The value from JSON. Whole numbers that fit become integers.
    pub(super) fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => Self::from_number(number),
            serde_json::Value::String(text) => Self::text(text.as_str()),
            serde_json::Value::Array(items) => Self::list(items.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(entries) => Self::map(
                entries
                    .iter()
                    .map(|(key, value)| (Arc::from(key.as_str()), Self::from_json(value)))
                    .collect(),
            ),
        }
    }

    fn from_number(number: &serde_json::Number) -> Self {
        if let Some(whole) = number.as_i64() {
            return Self::Int(whole);
        }
        let value = number.as_f64().unwrap_or(f64::NAN);
        whole(value).map_or(Self::Float(value), Self::Int)
    }
}

/// The integer that equals a float, if it is whole and exact.
pub(super) fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

impl List {
    pub(super) fn items(&self) -> &[Value] {
        &self.0.0
    }

    /// Whether this is the only one who holds them.
    pub(super) fn is_unshared(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<Value> {
        self.0.0.borrow().get(key).cloned()
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.0.borrow().contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.0.0.borrow().len()
    }

    /// The present entries in the order of their keys.
    pub(super) fn entries(&self) -> Vec<(Arc<str>, Value)> {
        self.0.0.borrow().iter().map(|(key, value)| (Arc::clone(key), value.clone())).collect()
    }

    pub(super) fn insert(&self, key: Arc<str>, value: Value) {
        // The old value is dropped after the borrow has ended, because its drop may access other maps.
        let _old = self.0.0.borrow_mut().insert(key, value);
    }

    pub(super) fn remove(&self, key: &str) {
        let _old = self.0.0.borrow_mut().remove(key);
    }

    pub(super) fn is(&self, other: &Map) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

// A loop can nest values very deeply; dropping them recursively would overflow the stack.
impl Drop for Items {
    fn drop(&mut self) {
        drop_flat(std::mem::take(&mut self.0));
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        drop_flat(std::mem::take(self.0.get_mut()).into_values().collect());
    }
}

fn drop_flat(mut pending: Vec<Value>) {
    while let Some(value) = pending.pop() {
        match value {
            Value::List(List(items)) => {
                if let Ok(mut items) = Rc::try_unwrap(items) {
                    pending.append(&mut items.0);
                }
            }
            Value::Map(Map(entries)) => {
                if let Ok(mut entries) = Rc::try_unwrap(entries) {
                    pending.extend(std::mem::take(entries.0.get_mut()).into_values());
                }
            }
            _ => {}
        }
    }
}
