//! Why an event cannot be planned. This is permanent, so the event becomes a dead letter at once, unless a text is
//! missing, which may still come.

use std::fmt;

use crate::manifest::Position;
use gotemplate::TemplateError;
use job::FailureClass;

/// The stage at which planning failed. It is a metric label, so the set is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The message is not a CloudEvent.
    Event,
    /// The action template.
    Action,
    /// A policyRef's name or namespace.
    Reference,
    /// The target of a policyRef does not exist.
    Missing,
    /// A template in a ConfigMap, or its YAML.
    Render,
    /// The rendered object is not allowed.
    Policy,
    /// The rendered object is not a Job.
    Check,
}

impl Stage {
    /// The failure class of an event whose planning failed here.
    pub const fn class(self) -> FailureClass {
        match self {
            Self::Event => FailureClass::NotACloudEvent,
            Self::Action => FailureClass::PlanAction,
            Self::Reference => FailureClass::PlanReference,
            Self::Missing => FailureClass::PlanMissing,
            Self::Render => FailureClass::PlanRender,
            Self::Policy => FailureClass::PlanPolicy,
            Self::Check => FailureClass::PlanCheck,
        }
    }
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
    /// The stage at which planning failed.
    pub stage: Stage,
    /// What is wrong, such as `ConfigMap default/a-job, job.yaml`; may be empty.
    pub origin: String,
    /// Its position in the manifests.
    pub at: Option<Position>,
    /// The line in that text, if it is known.
    pub line: Option<u32>,
    /// The field, such as `spec.template.spec`; may be empty.
    pub field: String,
    /// The explanation; it quotes no value of the event.
    pub message: String,
}

impl PlanError {
    pub(super) fn new(stage: Stage, message: impl Into<String>) -> Self {
        Self {
            stage,
            origin: String::new(),
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

    pub(super) fn with_origin(mut self, origin: impl Into<String>, at: &Position) -> Self {
        self.origin = origin.into();
        self.at = Some(at.clone());
        self
    }

    pub(super) fn template(stage: Stage, error: &TemplateError) -> Self {
        Self { line: error.line, ..Self::new(stage, error.message.clone()) }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.origin.is_empty() {
            write!(formatter, "{}", self.origin)?;
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
