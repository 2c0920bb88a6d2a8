//! The rules by which a Kubernetes API server accepts or refuses a Job, beyond types and field names. Pure.
//!
//! The rules are those of Kubernetes 1.36 with its defaults. If versions differ, everything that one of them accepts
//! is accepted: refusing a Job that a server accepts would be worse than passing one that the server refuses in its
//! own words. There is no maintained library for this, because the published schemas only know types and names.

mod container;
mod job;
mod metadata;
mod names;
mod pod;
mod quantity;
mod scheduling;
#[cfg(test)]
mod tests;
mod volume;

use std::fmt;

use serde_json::Value;

/// A field that a server would refuse, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field, such as `spec.template.spec.containers[0].name`.
    pub field: String,
    /// What is wrong with it; it quotes no value of the Job.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.message)
    }
}

/// Every reason for which a server would refuse this `batch/v1` Job. Its types and field names must have been checked
/// before.
pub fn check(job: &Value) -> Vec<Fault> {
    let mut faults = Faults(Vec::new());
    job::check(&Node { value: job, path: String::new() }, &mut faults);
    faults.0
}

/// What was found so far.
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, node: &Node<'_>, message: impl Into<String>) {
        self.0.push(Fault { field: node.path.clone(), message: message.into() });
    }

    fn add_unless(&mut self, is_right: bool, node: &Node<'_>, message: &str) {
        if !is_right {
            self.add(node, message);
        }
    }
}

const REQUIRED: &str = "is not set";
const NEGATIVE: &str = "must not be negative";

/// A part of the Job, and its path. As in Kubernetes, `null` means that it is not set.
#[derive(Clone)]
struct Node<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    fn get(&self, field: &str) -> Self {
        let path = if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) };
        Self { value: &self.value[field], path }
    }

    fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The text, or an empty one.
    fn text_or_empty(&self) -> &'a str {
        self.text().unwrap_or_default()
    }

    fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    fn is_true(&self) -> bool {
        self.value == &Value::Bool(true)
    }

    fn items(&self) -> Vec<Self> {
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(|(index, value)| Node { value, path: format!("{}[{index}]", self.path) }).collect()
    }

    fn entries(&self) -> Vec<(&'a str, Self)> {
        let entries = self.value.as_object().into_iter().flatten();
        entries
            .map(|(key, value)| (key.as_str(), Node { value, path: format!("{}.{key}", self.path) }))
            .collect()
    }

    fn required(&self, faults: &mut Faults) {
        faults.add_unless(!self.text_or_empty().is_empty(), self, REQUIRED);
    }

    /// It must be one of these words, if it is set.
    fn one_of(&self, words: &[&str], faults: &mut Faults) {
        if let Some(text) = self.text()
            && !words.contains(&text)
        {
            faults.add(self, format!("must be {}", words.join(" or ")));
        }
    }

    fn within(&self, least: i64, most: i64, faults: &mut Faults) {
        if self.int().is_some_and(|number| !(least..=most).contains(&number)) {
            faults.add(
                self,
                if (least, most) == (0, i64::MAX) {
                    NEGATIVE.to_owned()
                } else {
                    format!("must be between {least} and {most}")
                },
            );
        }
    }

    fn not_negative(&self, faults: &mut Faults) {
        self.within(0, i64::MAX, faults);
    }

    /// It must satisfy this rule, if it is set and not empty.
    fn fits(&self, rule: names::Rule, faults: &mut Faults) {
        if let Some(text) = self.text().filter(|text| !text.is_empty())
            && let Err(why) = rule(text)
        {
            faults.add(self, why);
        }
    }

    /// It must be set and satisfy this rule.
    fn must_fit(&self, rule: names::Rule, faults: &mut Faults) {
        self.required(faults);
        self.fits(rule, faults);
    }

    /// Which of these fields are set; exactly one should be.
    fn exactly_one(&self, fields: &[&str], faults: &mut Faults) {
        let set: Vec<&str> = fields.iter().copied().filter(|field| self.get(field).is_set()).collect();
        match set.as_slice() {
            [_] => {}
            [] => faults.add(self, format!("needs one of {}", fields.join(", "))),
            [_, second, ..] => faults.add(&self.get(second), "must not be set together with another one"),
        }
    }
}
