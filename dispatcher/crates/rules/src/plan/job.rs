//! A rendered object, checked, as a Job of this event.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use serde::Deserialize;
use serde_json::Value;

use super::render::Rendered;
use super::{Identity, IncomingEvent, JobSpec, PlanError, Policy, environment, labels, name, typed_job};
use crate::manifest::Position;
use gotemplate::Document;

/// A Job to run: allowed, typed, named, and stamped with its identity.
#[derive(Debug, Clone)]
pub struct PlannedJob {
    /// The Job's namespace.
    pub namespace: String,
    /// The Job's name: a DNS-1123 name of at most 63 characters.
    pub name: String,
    /// The whole Job.
    pub manifest: JobText,
    /// What the process and docker backends need from it.
    pub spec: JobSpec,
    /// What it is about and which event started it.
    pub identity: Identity,
    /// The position of its template.
    pub template: Position,
}

/// A Job as the text for the Kubernetes API. As a tree or a typed value it would take ten times the memory for as
/// long as it runs.
#[derive(Debug, Clone, Default)]
pub struct JobText(Arc<str>);

/// The initial capacity; most Jobs are shorter.
const USUAL: usize = 4 << 10;

impl JobText {
    /// The text of this object.
    pub fn of(value: &Value) -> Self {
        let mut text = Vec::with_capacity(USUAL);
        // Serializing a tree of texts and numbers cannot fail.
        let _ = serde_json::to_writer(&mut text, value);
        Self(String::from_utf8(text).unwrap_or_default().into())
    }

    /// As JSON.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// As a tree.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// Typed.
    pub fn typed(&self) -> Job {
        // The text was checked when it was made, so reading it cannot fail. It is read through a tree, as there,
        // because a second way of reading would make the program larger.
        Job::deserialize(&self.value()).unwrap_or_default()
    }
}

/// Checks a rendered object, and turns it into a Job of this event.
pub(super) fn plan(
    rendered: Rendered,
    event: &IncomingEvent,
    identity: &Identity,
    policy: &Policy,
) -> Result<PlannedJob, PlanError> {
    let Rendered { document, origin, at } = rendered;
    plan_value(document, &at, event, identity, policy).map_err(|error| error.with_origin(origin, &at))
}

fn plan_value(
    document: Document,
    at: &Position,
    event: &IncomingEvent,
    identity: &Identity,
    policy: &Policy,
) -> Result<PlannedJob, PlanError> {
    let Document { mut value, bare, filled, names, is_nondeterministic: _ } = document;
    Policy::check_kind(&value)?;
    let requested = name::read(&value)?;
    let name = if labels::holds(&filled, "/metadata/name") {
        name::fit(&requested.name)
    } else {
        name::literal(&requested.name)?
    };
    labels::names(&mut value, &requested.namespace, &name);
    policy.check_namespace(&requested.namespace, labels::holds(&filled, "/metadata/namespace"))?;
    // Before anything is added, so that problems name the template's own fields. What is added later does not affect
    // these checks.
    let job = typed_job::settle(&mut value, bare, &names)?;
    policy.check_pod(&value, &filled)?;
    let spec = JobSpec::read(&job)?;
    policy.harden(&mut value);
    labels::identity(&mut value, identity, event, &requested.name, &filled);
    labels::check_size(&value)?;
    environment::check(&spec)?;
    Ok(PlannedJob {
        namespace: requested.namespace,
        name,
        manifest: JobText::of(&value),
        spec,
        identity: identity.clone(),
        template: at.clone(),
    })
}
