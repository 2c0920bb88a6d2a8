//! `EventSource`: what counts as an event.

use serde::Deserialize;

use super::document::Document;
use super::object::{self, Object, or_default};
use super::{Pattern, Position, Problem};

/// What counts as an event: criteria, one of which must match.
#[derive(Debug, Clone)]
pub struct EventSource {
    /// `metadata.name`.
    pub name: String,
    /// The criteria; one of them must match.
    pub criteria: Vec<Criterion>,
    /// Its position in the manifests.
    pub position: Position,
}

/// All of these patterns must match.
#[derive(Debug, Clone)]
pub struct Criterion {
    /// The subject of the NATS message.
    pub subject: Pattern,
    /// The CloudEvent's `source`.
    pub source: Pattern,
    /// The CloudEvent's `type`.
    pub event_type: Pattern,
    /// The CloudEvent's `subject`.
    pub event_subject: Pattern,
    /// Its position in the manifests.
    pub position: Position,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    messaging_match_criteria: Vec<CriterionSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CriterionSpec {
    #[serde(deserialize_with = "or_default")]
    subject: String,
    #[serde(deserialize_with = "or_default")]
    cloud_event_source: String,
    #[serde(deserialize_with = "or_default")]
    cloud_event_type: String,
    #[serde(deserialize_with = "or_default")]
    cloud_event_subject: String,
}

/// Fields of the resource definition that are about cluster resources, not messages.
fn sveltos_knows(field: &str) -> bool {
    matches!(field, "spec.resourceSelectors" | "spec.aggregatedSelection" | "spec.collectResources")
}

impl EventSource {
    pub(super) fn read(document: &Document, problems: &mut Vec<Problem>) -> Option<Self> {
        let object: Object<Spec> = object::read(document, sveltos_knows, problems)?;
        let name = object::name(document, &object.metadata, problems)?;
        if object.spec.messaging_match_criteria.is_empty() {
            let message = "no criteria: this EventSource matches no event";
            problems.push(document.warning("spec.messagingMatchCriteria", message));
        }
        let criteria = object.spec.messaging_match_criteria.into_iter().enumerate();
        let criteria =
            criteria.map(|(index, spec)| Criterion::new(document, index, spec, problems)).collect();
        Some(Self { name, criteria, position: document.position() })
    }
}

impl Criterion {
    fn new(document: &Document, index: usize, spec: CriterionSpec, problems: &mut Vec<Problem>) -> Self {
        let base = format!("spec.messagingMatchCriteria[{index}]");
        let mut pattern = |field: &str, text: String| {
            let pattern = Pattern::new(text);
            if let Some(reason) = pattern.fault() {
                let message = format!("not a regular expression, so it never matches: {reason}");
                problems.push(document.warning(&format!("{base}.{field}"), message));
            }
            pattern
        };
        Self {
            subject: pattern("subject", spec.subject),
            source: pattern("cloudEventSource", spec.cloud_event_source),
            event_type: pattern("cloudEventType", spec.cloud_event_type),
            event_subject: pattern("cloudEventSubject", spec.cloud_event_subject),
            position: document.position_of(&base),
        }
    }
}
