//! Why an event matched or not, field by field.

use crate::manifest::{Criterion, EventTrigger, Manifests, Place};

use super::{Cluster, IncomingEvent, Policy, TriggerPlan, plan};

/// Everything the manifests say about one event.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Every EventSource, matching or not.
    pub sources: Vec<SourceExplanation>,
    /// Every EventTrigger, firing or not.
    pub triggers: Vec<TriggerExplanation>,
}

/// One EventSource and the event.
#[derive(Debug, Clone)]
pub struct SourceExplanation {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// Whether one criterion matches.
    pub matches: bool,
    /// Every criterion.
    pub criteria: Vec<CriterionExplanation>,
}

/// One criterion and the event.
#[derive(Debug, Clone)]
pub struct CriterionExplanation {
    /// Where it stands.
    pub place: Place,
    /// The fields that do not match; none means that it matches.
    pub mismatches: Vec<FieldMismatch>,
}

/// A field of a criterion that does not match.
#[derive(Debug, Clone)]
pub struct FieldMismatch {
    /// The field, such as `cloudEventType`.
    pub field: &'static str,
    /// The regular expression.
    pub pattern: String,
    /// What the event has there; empty if nothing.
    pub value: String,
    /// Why the expression can never match, if it is none.
    pub fault: Option<String>,
}

/// One EventTrigger and the event.
#[derive(Debug, Clone)]
pub struct TriggerExplanation {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// What it wants done, or why it does not fire.
    pub outcome: Result<TriggerPlan, String>,
}

/// Plans the event and says why everything else stays still.
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
            place: source.place.clone(),
            matches: source.matches(event),
            criteria: source.criteria.iter().map(|criterion| explain_criterion(criterion, event)).collect(),
        })
        .collect();
    let mut plans = plan(event, manifests, cluster, policy);
    let triggers = manifests.triggers.iter().map(|trigger| {
        let planned = plans.iter().position(|plan| plan.trigger == trigger.name);
        TriggerExplanation {
            name: trigger.name.clone(),
            place: trigger.place.clone(),
            outcome: match planned {
                Some(index) => Ok(plans.remove(index)),
                None => Err(still(trigger, &sources, cluster)),
            },
        }
    });
    let triggers = triggers.collect();
    Explanation { sources, triggers }
}

fn explain_criterion(criterion: &Criterion, event: &IncomingEvent) -> CriterionExplanation {
    let mismatches = criterion.mismatches(event).map(|(field, pattern, value)| FieldMismatch {
        field,
        pattern: pattern.source().to_owned(),
        value: value.to_owned(),
        fault: pattern.fault().map(str::to_owned),
    });
    CriterionExplanation { place: criterion.place.clone(), mismatches: mismatches.collect() }
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
