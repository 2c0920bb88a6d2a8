//! The functions that a template may call: Go's builtins, sprig 3.3, and the JSON, YAML and TOML functions of
//! Sveltos.

mod builtin;
mod case;
mod conditional;
mod date;
mod dict;
mod encoding;
mod hash;
mod list;
mod math;
mod path;
mod random;
mod regex;
mod string;
mod version;

use super::budget::Budget;
use super::error::{Fault, fault};
use super::placeholder::Tokens;
use super::value::{Emission, Map, Text, Value};

/// Takes any number of arguments.
const MANY: usize = usize::MAX;

/// A function by its name in templates.
pub(super) struct Function {
    pub(super) name: &'static str,
    least: usize,
    most: usize,
    body: Body,
}

#[derive(Clone, Copy)]
enum Body {
    Plain(Run),
    And,
    Or,
}

type Run = fn(&mut Call<'_>) -> Result<Value, Fault>;

/// What a name means.
pub(super) enum Known {
    Function(&'static Function),
    /// Sprig has it, we do not, and this is the reason.
    Refused(&'static str),
    Not,
}

/// Finds a function by its name.
pub(super) fn named(name: &str) -> Known {
    let found = TABLES.iter().flat_map(|table| table.iter()).find(|function| function.name == name);
    if let Some(function) = found {
        return Known::Function(function);
    }
    match REFUSED.iter().find(|(names, _)| names.contains(&name)) {
        Some((_, reason)) => Known::Refused(reason),
        None => Known::Not,
    }
}

/// Sprig comes before the builtins: its `slice` replaces Go's.
static TABLES: &[&[Function]] = &[
    string::FUNCTIONS,
    case::FUNCTIONS,
    conditional::FUNCTIONS,
    hash::FUNCTIONS,
    regex::FUNCTIONS,
    date::FUNCTIONS,
    version::FUNCTIONS,
    path::FUNCTIONS,
    random::FUNCTIONS,
    encoding::FUNCTIONS,
    dict::FUNCTIONS,
    list::FUNCTIONS,
    math::FUNCTIONS,
    builtin::FUNCTIONS,
];

/// The names of sprig that are not offered.
static REFUSED: &[(&[&str], &str)] = &[
    (&["env", "expandenv"], "a template must not read the environment of the dispatcher"),
    (&["fromToml"], "no event carries TOML: send JSON"),
    (&["getHostByName"], "rendering must not depend on the network"),
    (
        &["getResource", "getField", "setField", "removeField", "chainSetField", "chainRemoveField", "copy"],
        "a template sees the event and .Cluster alone, and no other object of the cluster",
    ),
    (
        &[
            "genPrivateKey",
            "genCA",
            "genCAWithKey",
            "genSelfSignedCert",
            "genSelfSignedCertWithKey",
            "genSignedCert",
            "genSignedCertWithKey",
            "buildCustomCert",
            "derivePassword",
            "encryptAES",
            "decryptAES",
            "bcrypt",
            "htpasswd",
        ],
        "keys and passwords belong in a Secret, not in a Job made from an event",
    ),
];

impl std::fmt::Debug for Function {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

impl Function {
    const fn new(name: &'static str, least: usize, most: usize, run: Run) -> Self {
        Self { name, least, most, body: Body::Plain(run) }
    }

    /// The truth value at which `and` or `or` stops, without evaluating the arguments after it.
    pub(super) fn stops_at(&self) -> Option<bool> {
        match self.body {
            Body::And => Some(false),
            Body::Or => Some(true),
            Body::Plain(_) => None,
        }
    }

    /// Whether the function takes this many arguments.
    pub(super) fn takes(&self, count: usize) -> Result<(), Fault> {
        if (self.least..=self.most).contains(&count) {
            return Ok(());
        }
        let wanted = match (self.least, self.most) {
            (least, MANY) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        fault(format!("wrong number of args for {}: want {wanted} got {count}", self.name))
    }

    /// Calls the function; the number of arguments was checked before.
    pub(super) fn call(
        &self,
        arguments: &[Value],
        budget: &mut Budget,
        tokens: Option<&mut Tokens>,
    ) -> Result<Value, Fault> {
        budget.steps(1)?;
        match self.body {
            Body::Plain(run) => {
                let value = run(&mut Call { name: self.name, arguments, budget, tokens })?;
                budget.made(&value)?;
                Ok(value)
            }
            // The interpreter evaluates these itself; called with values, they return the last one.
            Body::And | Body::Or => Ok(arguments.last().cloned().unwrap_or(Value::Nil)),
        }
    }
}

/// One call: its arguments, and the budget that it uses.
struct Call<'a> {
    name: &'static str,
    arguments: &'a [Value],
    budget: &'a mut Budget,
    tokens: Option<&'a mut Tokens>,
}

impl<'a> Call<'a> {
    /// The argument at `position`; nil if it is missing. The arity guarantees it, or it is optional.
    fn any(&self, position: usize) -> &'a Value {
        self.arguments.get(position).unwrap_or(&Value::Nil)
    }

    fn count(&self) -> usize {
        self.arguments.len()
    }

    fn wrong<T>(&self, wanted: &str, value: &Value) -> Result<T, Fault> {
        fault(format!("{}: wrong type for value; expected {wanted}; got {}", self.name, value.type_name()))
    }

    /// A text argument.
    fn str(&self, position: usize) -> Result<&'a str, Fault> {
        Ok(&self.text(position)?.text)
    }

    fn text(&self, position: usize) -> Result<&'a Text, Fault> {
        match self.any(position) {
            Value::Text(text) => Ok(text),
            other => self.wrong("string", other),
        }
    }

    /// An integer argument.
    fn int(&self, position: usize) -> Result<i64, Fault> {
        match self.any(position) {
            Value::Int(value) => Ok(*value),
            other => self.wrong("int", other),
        }
    }

    fn bool(&self, position: usize) -> Result<bool, Fault> {
        match self.any(position) {
            Value::Bool(value) => Ok(*value),
            other => self.wrong("bool", other),
        }
    }

    fn map(&self, position: usize) -> Result<&'a Map, Fault> {
        match self.any(position) {
            Value::Map(map) => Ok(map),
            other => self.wrong("map[string]interface {}", other),
        }
    }

    /// The items of a list argument; `doing` completes "cannot … on type".
    fn items(&mut self, position: usize, doing: &str) -> Result<&'a [Value], Fault> {
        let items = self.copied_items(position, doing)?;
        self.budget.steps(items.len())?;
        Ok(items)
    }

    /// The same for a function that copies them into a list of its own, which pays for them.
    fn copied_items(&self, position: usize, doing: &str) -> Result<&'a [Value], Fault> {
        match self.any(position) {
            Value::List(list) => Ok(list.items()),
            other => fault(format!("cannot {doing} on type {}", other.type_name())),
        }
    }

    /// A text that the function made.
    fn made(&mut self, text: impl Into<String>) -> Result<Value, Fault> {
        let text = text.into();
        self.budget.room(text.len())?;
        Ok(Value::text(text))
    }

    /// A text with quotes or structure of its own. A safe rendering prints it as `shape`, in which tokens represent
    /// the texts inside.
    fn shaped(&self, text: String, shape: String) -> Value {
        let emission = if self.tokens.is_some() { Emission::Shaped(shape.into()) } else { Emission::Opaque };
        Value::Text(Text { text: text.into(), emission })
    }

    /// A list that the function made.
    fn made_list(&mut self, items: Vec<Value>) -> Result<Value, Fault> {
        self.budget.steps(items.len())?;
        self.budget.slots(items.len())?;
        Ok(Value::list(items))
    }

    /// `%v` of a value.
    fn formatted(&mut self, value: &Value) -> Result<String, Fault> {
        super::text::formatted(value, self.budget)
    }
}

/// A list of texts that the function made.
fn texts(texts: impl IntoIterator<Item = impl Into<std::sync::Arc<str>>>) -> Vec<Value> {
    texts.into_iter().map(Value::text).collect()
}
