//! A rendered object, checked, as a Job of this event.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use serde::Deserialize;
use serde_json::Value;

use super::render::Rendered;
use super::{Identity, IncomingEvent, JobSpec, PlanError, Policy, environment, name, stamp, typed};
use crate::manifest::Place;
use crate::template::Document;

/// A Job to run: allowed, typed, named and stamped with its identity.
#[derive(Debug, Clone)]
pub struct PlannedJob {
    /// The Job's namespace.
    pub namespace: String,
    /// The Job's name: a DNS-1123 name of at most 63 characters.
    pub name: String,
    /// The whole Job.
    pub manifest: JobText,
    /// What the process and docker backends need of it.
    pub spec: JobSpec,
    /// What it is about and which event started it.
    pub identity: Identity,
    /// Where its template stands.
    pub template: Place,
}

/// A Job as the text that goes to the Kubernetes API. As a tree, or typed, it would take ten times the room, for as long as it runs.
#[derive(Debug, Clone, Default)]
pub struct JobText(Arc<str>);

/// Most Jobs are shorter.
const USUAL: usize = 4 << 10;

impl JobText {
    /// The text of this object.
    pub fn of(value: &Value) -> Self {
        let mut text = Vec::with_capacity(USUAL);
        // A tree of texts and numbers can always be written.
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
        // Nothing is a text that was no Job: that was looked at before. Out of a tree, as there: to read it in one way only
        // makes the program smaller.
        Job::deserialize(&self.value()).unwrap_or_default()
    }
}

/// Checks a rendered object and makes it a Job of this event.
pub(super) fn plan(
    rendered: Rendered,
    event: &IncomingEvent,
    identity: &Identity,
    policy: &Policy,
) -> Result<PlannedJob, PlanError> {
    let Rendered { document, place, at } = rendered;
    plan_value(document, &at, event, identity, policy).map_err(|error| error.in_place(place, &at))
}

fn plan_value(
    document: Document,
    at: &Place,
    event: &IncomingEvent,
    identity: &Identity,
    policy: &Policy,
) -> Result<PlannedJob, PlanError> {
    let Document { mut value, bare, names } = document;
    Policy::check_kind(&value)?;
    let requested = name::read(&value)?;
    let name = name::fit(&requested.name);
    stamp::names(&mut value, &requested.namespace, &name);
    policy.check_namespace(&requested.namespace)?;
    // Before anything is added, so that what is reported is the template's. What is added changes nothing that is read here.
    let job = typed::settle(&mut value, bare, &names)?;
    policy.check_pod(&job)?;
    let spec = JobSpec::read(&job)?;
    policy.harden(&mut value);
    stamp::identity(&mut value, identity, event, &requested.name);
    stamp::check_size(&value)?;
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
