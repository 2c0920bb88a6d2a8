//! Event and manifests → what is to be done: pure, no server is asked and no file is read.
//!
//! One event may match several EventSources, each named by several triggers: every matching trigger gives one
//! [`TriggerPlan`]. What goes wrong in one of them concerns this event and this trigger only.

mod action;
mod cluster;
mod dollar;
mod environment;
mod error;
mod event;
mod explain;
mod identity;
mod job;
mod matching;
mod name;
mod policy;
mod render;
mod spec;
mod stamp;
#[cfg(test)]
mod tests;
mod typed;
mod unsupported;
mod variable;
mod variety;

use crate::manifest::{EventTrigger, Manifests, SyncMode};

pub use cluster::Cluster;
pub use environment::expand;
pub use error::{PlanError, Stage};
pub use event::IncomingEvent;
pub use explain::{
    CriterionExplanation, Explanation, FieldMismatch, SourceExplanation, TriggerExplanation, explain,
};
pub use identity::Identity;
pub use job::{JobText, PlannedJob};
pub use policy::Policy;
pub use spec::{ExitCodes, FailureAction, FailureRule, JobSpec};
pub use stamp::{DELETED_LABEL, EVENT_LABEL, IDENTITY_LABEL};
pub use unsupported::{BackendKind, unsupported};
pub use variable::{EnvFrom, EnvValue, EnvVariable, KeyRef};
pub use variety::was_other;

/// What one trigger wants done about one event.
#[derive(Debug, Clone)]
pub struct TriggerPlan {
    /// The EventTrigger's name.
    pub trigger: String,
    /// Which thing this is about: equal for all events with the same source and subject.
    pub identity: Identity,
    /// What to do; with an error the same event will always fail with these manifests.
    pub outcome: Result<Action, PlanError>,
}

/// What to do about one event.
#[derive(Debug, Clone)]
pub enum Action {
    /// Run these Jobs; others of the same identity that are no longer rendered go.
    Create {
        /// How what is made is kept.
        sync: SyncMode,
        /// In the order of the policyRefs, keys and documents.
        jobs: Vec<PlannedJob>,
        /// Another event of the same identity may have given other Jobs: those that are not among these go.
        varies: bool,
    },
    /// Remove what the same trigger made for the same source and subject.
    Delete {
        /// Of which only trigger, source and subject count.
        identity: Identity,
    },
    /// Nothing, for this reason.
    Skip(String),
}

/// Everything that follows from `event`, one plan per matching trigger in the order of the manifests; empty if nothing matches.
pub fn plan(
    event: &IncomingEvent,
    manifests: &Manifests,
    cluster: &Cluster,
    policy: &Policy,
) -> Vec<TriggerPlan> {
    matching::triggers(event, manifests, cluster)
        .map(|trigger| {
            let identity = Identity::new(trigger, event);
            let outcome = decide(event, trigger, manifests, cluster, policy, &identity);
            TriggerPlan { trigger: trigger.name.clone(), identity, outcome }
        })
        .collect()
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
            let mut jobs: Vec<PlannedJob> = Vec::with_capacity(documents.len());
            for document in documents {
                let job = job::plan(document, event, identity, policy)?;
                if jobs.iter().any(|other| other.namespace == job.namespace && other.name == job.name) {
                    let message = format!("the Job {}/{} is rendered twice", job.namespace, job.name);
                    return Err(PlanError::new(Stage::Check, message));
                }
                jobs.push(job);
            }
            let varies = variety::is_possible(trigger, manifests, cluster, identity, &jobs);
            Ok(Action::Create { sync: trigger.sync, jobs, varies })
        }
    }
}
