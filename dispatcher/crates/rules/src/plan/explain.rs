//! Why an event matched or did not match, field by field.

use crate::manifest::{Criterion, EventTrigger, Manifests, Position};

use super::{Cluster, IncomingEvent, Policy, TriggerPlan, plan};

/// Everything that the manifests mean for one event.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Every EventSource, whether it matches or not.
    pub sources: Vec<SourceExplanation>,
    /// Every EventTrigger, whether it fires or not.
    pub triggers: Vec<TriggerExplanation>,
    /// Objects that are not in force because of a mistake.
    pub left_out: Vec<LeftOutExplanation>,
}

/// What a left-out object means for the event.
#[derive(Debug, Clone)]
pub struct LeftOutExplanation {
    /// Kind and name.
    pub name: String,
    /// What is wrong.
    pub why: String,
    /// Whether the event is for it, and waits until it is corrected.
    pub waits: bool,
}

/// What one EventSource means for the event.
#[derive(Debug, Clone)]
pub struct SourceExplanation {
    /// Its name.
    pub name: String,
    /// Its position in the manifests.
    pub position: Position,
    /// Whether one criterion matches.
    pub matches: bool,
    /// Every criterion.
    pub criteria: Vec<CriterionExplanation>,
}

/// What one criterion means for the event.
#[derive(Debug, Clone)]
pub struct CriterionExplanation {
    /// Its position in the manifests.
    pub position: Position,
    /// The fields that do not match; empty if the criterion matches.
    pub mismatches: Vec<FieldMismatch>,
}

/// A field of a criterion that does not match.
#[derive(Debug, Clone)]
pub struct FieldMismatch {
    /// The field, such as `cloudEventType`.
    pub field: &'static str,
    /// The regular expression.
    pub pattern: String,
    /// The event's value; empty if it has none.
    pub value: String,
    /// Why the expression is invalid, so that it can never match.
    pub fault: Option<String>,
}

/// What one EventTrigger means for the event.
#[derive(Debug, Clone)]
pub struct TriggerExplanation {
    /// Its name.
    pub name: String,
    /// Its position in the manifests.
    pub position: Position,
    /// What it does, or why it does not fire.
    pub outcome: Result<TriggerPlan, String>,
}

/// Plans the event, and says why all other objects do not match.
pub fn explain(
    event: &IncomingEvent,
    manifests: &Manifests,
    cluster: &Cluster,
    policy: &Policy,
) -> Explanation {
    let sources: Vec<_> = manifests
        .sources
        .iter()
        .map(|source| SourceExplanation {
            name: source.name.clone(),
            position: source.position.clone(),
            matches: source.matches(event),
            criteria: source.criteria.iter().map(|criterion| explain_criterion(criterion, event)).collect(),
        })
        .collect();
    let mut plans = plan(event, manifests, cluster, policy);
    let triggers = manifests.triggers.iter().map(|trigger| {
        let planned = plans.iter().position(|plan| plan.trigger == trigger.name);
        TriggerExplanation {
            name: trigger.name.clone(),
            position: trigger.position.clone(),
            outcome: match planned {
                Some(index) => Ok(plans.remove(index)),
                None => Err(still(trigger, &sources, cluster)),
            },
        }
    });
    let triggers = triggers.collect();
    let left_out = manifests.left_out.iter().map(|one| LeftOutExplanation {
        name: one.name.clone(),
        why: one.why.clone(),
        waits: one.takes(event, cluster),
    });
    Explanation { sources, triggers, left_out: left_out.collect() }
}

fn explain_criterion(criterion: &Criterion, event: &IncomingEvent) -> CriterionExplanation {
    let mismatches = criterion.mismatches(event).map(|(field, pattern, value)| FieldMismatch {
        field,
        pattern: pattern.source().to_owned(),
        value: value.to_owned(),
        fault: pattern.fault().map(str::to_owned),
    });
    CriterionExplanation { position: criterion.position.clone(), mismatches: mismatches.collect() }
}

/// Why a trigger does not fire.
fn still(trigger: &EventTrigger, sources: &[SourceExplanation], cluster: &Cluster) -> String {
    if let Some(reason) = trigger.selector.mismatch(&cluster.labels) {
        return format!("sourceClusterSelector: {reason}");
    }
    let name = match cluster.source_name(trigger) {
        Ok(name) => name,
        Err(error) => return format!("eventSourceName cannot be rendered over .Cluster alone: {error}"),
    };
    match sources.iter().find(|source| source.name == name) {
        None => format!("there is no EventSource {name:?}"),
        Some(_) => format!("EventSource {name} does not match"),
    }
}
