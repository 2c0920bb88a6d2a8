//! From event and manifests to what must be done. Pure: contacts no server and reads no file.
//!
//! One event may match several EventSources, each named by several triggers. Every matching trigger gives one
//! [`TriggerPlan`]. An error in one plan only affects this event and this trigger.

mod action;
mod cluster;
mod environment;
mod error;
mod event;
mod expansion_guard;
mod explain;
pub mod flow;
mod job;
mod labels;
mod matching;
mod name;
mod needs;
mod policy;
mod render;
mod spec;
mod spoilt;
mod stale_jobs;
#[cfg(test)]
mod tests;
mod typed_job;
mod unsupported;
mod variable;

use std::sync::Arc;

use crate::manifest::{EventTrigger, Manifests, SyncMode};

pub use ::job::Identity;
pub use cluster::Cluster;
pub use environment::{LONGEST_VARIABLE, expand};
pub use error::{PlanError, Stage};
pub use event::IncomingEvent;
pub use explain::{
    CriterionExplanation, Explanation, FieldMismatch, LeftOutExplanation, SourceExplanation,
    TriggerExplanation, explain,
};
pub use job::{JobText, PlannedJob};
pub use labels::{DELETED_LABEL, EVENT_LABEL, IDENTITY_LABEL};
pub use needs::{Given, Needs, nowhere};
pub use policy::{ImagePrefix, Policy, is_pod_field};
pub use spec::{ExitCodes, FailureAction, FailureRule, JobSpec};
pub use spoilt::{spoilt, without_jobs};
pub use unsupported::{BackendKind, unsupported};
pub use variable::{EnvFrom, EnvValue, EnvVariable, KeyRef};

/// What one trigger does about one event.
#[derive(Debug, Clone)]
pub struct TriggerPlan {
    /// The EventTrigger's name.
    pub trigger: String,
    /// What the event is about: equal for all events with the same source and subject.
    pub identity: Identity,
    /// What to do. With an error, the same event will always fail with these manifests.
    pub outcome: Result<Action, PlanError>,
}

/// What to do about one event.
#[derive(Debug, Clone)]
pub enum Action {
    /// Run these Jobs. Other Jobs of the same identity that are no longer rendered are removed.
    Create {
        /// When the Jobs are made again.
        sync: SyncMode,
        /// In the order of the policyRefs, keys and documents.
        jobs: Vec<PlannedJob>,
        /// Whether another event of the same identity may have given other Jobs, so that Jobs not in `jobs` must be
        /// removed.
        prunes_others: bool,
    },
    /// Remove the Jobs that this trigger made for the same source and subject.
    Delete {
        /// Only its trigger, source and subject count.
        identity: Identity,
    },
    /// Do nothing, for this reason.
    Skip(String),
}

/// One plan for each trigger that matches `event`, in the order of the manifests; empty if none matches.
pub fn plan(
    event: &IncomingEvent,
    manifests: &Manifests,
    cluster: &Cluster,
    policy: &Policy,
) -> Vec<TriggerPlan> {
    matching::triggers(event, manifests, cluster)
        .map(|trigger| {
            let identity = identity_of(trigger, event);
            let outcome = decide(event, trigger, manifests, cluster, policy, &identity);
            TriggerPlan { trigger: trigger.name.clone(), identity, outcome }
        })
        .collect()
}

/// As [`plan`]. An earlier event of the same identity may have been planned by one of the `earlier` sets of manifests, so
/// its Jobs are removed as well if they would differ.
pub fn plan_after(
    event: &IncomingEvent,
    current: &Manifests,
    earlier: &[Arc<Manifests>],
    cluster: &Cluster,
    policy: &Policy,
) -> Vec<TriggerPlan> {
    let mut plans = plan(event, current, cluster, policy);
    for plan in &mut plans {
        let was_other = |set: &Arc<_>| stale_jobs::was_other(event, plan, current, set, cluster, policy);
        if earlier.iter().any(was_other)
            && let Ok(Action::Create { prunes_others, .. }) = &mut plan.outcome
        {
            *prunes_others = true;
        }
    }
    plans
}

fn identity_of(trigger: &EventTrigger, event: &IncomingEvent) -> Identity {
    Identity {
        trigger: trigger.name.clone(),
        source: event.source().to_owned(),
        subject: event.subject().to_owned(),
        event_id: event.id().to_owned(),
        replay: event.replay,
    }
}

fn decide(
    event: &IncomingEvent,
    trigger: &EventTrigger,
    manifests: &Manifests,
    cluster: &Cluster,
    policy: &Policy,
    identity: &Identity,
) -> Result<Action, PlanError> {
    let view = cluster.view();
    let context = Cluster::context(event, &view);
    match action::render(trigger, &context)? {
        action::Verb::Skip => Ok(Action::Skip("the action is empty".into())),
        action::Verb::Delete => Ok(Action::Delete { identity: identity.clone() }),
        action::Verb::Create => {
            let documents = render::documents(trigger, event, &context, manifests, cluster)?;
            if documents.iter().any(|one| one.document.is_nondeterministic) {
                let again = render::documents(trigger, event, &context.clone().later(), manifests, cluster)?;
                name::check_again(&documents, &again)?;
            }
            let mut jobs: Vec<PlannedJob> = Vec::with_capacity(documents.len());
            for document in documents {
                let job = job::plan(document, event, identity, policy)?;
                if jobs.iter().any(|other| other.namespace == job.namespace && other.name == job.name) {
                    let message = format!("the Job {}/{} is rendered twice", job.namespace, job.name);
                    return Err(PlanError::new(Stage::Check, message));
                }
                jobs.push(job);
            }
            let prunes_others = stale_jobs::is_possible(trigger, manifests, cluster, identity, &jobs);
            Ok(Action::Create { sync: trigger.sync, jobs, prunes_others })
        }
    }
}
