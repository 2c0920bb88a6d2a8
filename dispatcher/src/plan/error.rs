//! Why an event cannot be planned: for good, so it goes to the dead letters at once; but for a text that is missing, and may come.

use std::fmt;

use crate::manifest::Place;
use crate::template::TemplateError;

/// Where planning stopped. A metric label, so the set is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The message is no CloudEvent.
    Event,
    /// The action template.
    Action,
    /// A policyRef's name or namespace.
    Reference,
    /// What a policyRef leads to is not there.
    Missing,
    /// A template in a ConfigMap, or its YAML.
    Render,
    /// What came out is not allowed.
    Policy,
    /// What came out is no Job.
    Check,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Event => "event",
            Self::Action => "action",
            Self::Reference => "reference",
            Self::Missing => "missing",
            Self::Render => "render",
            Self::Policy => "policy",
            Self::Check => "check",
        })
    }
}

/// Why an event cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// Where planning stopped.
    pub stage: Stage,
    /// What is at fault, such as `ConfigMap default/a-job, job.yaml`; may be empty.
    pub place: String,
    /// Where that stands in the manifests.
    pub at: Option<Place>,
    /// The line in that text, when it is known.
    pub line: Option<u32>,
    /// The field, such as `spec.template.spec`; may be empty.
    pub field: String,
    /// What is wrong; no value of the event is in it.
    pub message: String,
}

impl PlanError {
    pub(super) fn new(stage: Stage, message: impl Into<String>) -> Self {
        Self {
            stage,
            place: String::new(),
            at: None,
            line: None,
            field: String::new(),
            message: message.into(),
        }
    }

    pub(super) fn at_field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    pub(super) fn in_place(mut self, place: impl Into<String>, at: &Place) -> Self {
        self.place = place.into();
        self.at = Some(at.clone());
        self
    }

    pub(super) fn template(stage: Stage, error: &TemplateError) -> Self {
        Self { line: error.line, ..Self::new(stage, error.message.clone()) }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(formatter, "{}", self.place)?;
            if let Some(line) = self.line {
                write!(formatter, ", line {line}")?;
            }
            write!(formatter, ": ")?;
        }
        if !self.field.is_empty() {
            write!(formatter, "{}: ", self.field)?;
        }
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for PlanError {}
