//! `EventTrigger`: which event starts which Jobs.

use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::object::{self, Object, or_default};
use super::{ContentKind, Position, Problem, Selector, TemplatedText};

/// Which event starts which Jobs.
#[derive(Debug, Clone)]
pub struct EventTrigger {
    /// `metadata.name`.
    pub name: String,
    /// The EventSource's name: a template over `.Cluster` only.
    pub source_name: TemplatedText,
    /// The position of that name.
    pub source_position: Position,
    /// The clusters that it is for.
    pub selector: Selector,
    /// A template over the event that must render `Create`, `Delete` or nothing.
    pub action: TemplatedText,
    /// When Jobs are made again.
    pub sync: SyncMode,
    /// The texts to render.
    pub policy_refs: Vec<PolicyRef>,
    /// Its position in the manifests.
    pub position: Position,
}

/// A reference to a text; name and namespace are templates over the event.
#[derive(Debug, Clone)]
pub struct PolicyRef {
    /// ConfigMap or Secret.
    pub kind: ContentKind,
    /// Empty means the cluster's own namespace.
    pub namespace: TemplatedText,
    /// The name.
    pub name: TemplatedText,
    /// Whether the text may be missing.
    pub optional: bool,
    /// Its position in the manifests.
    pub position: Position,
}

/// When a trigger's Jobs are made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum SyncMode {
    /// Again for every event.
    #[default]
    Continuous,
    /// Once for each identity.
    OneTime,
    /// Never: they are only rendered and checked.
    DryRun,
    /// As `Continuous`: an ended Job is never restored.
    ContinuousWithDriftDetection,
}

impl FromStr for SyncMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "Continuous" => Ok(Self::Continuous),
            "OneTime" => Ok(Self::OneTime),
            "DryRun" => Ok(Self::DryRun),
            "ContinuousWithDriftDetection" => Ok(Self::ContinuousWithDriftDetection),
            other => Err(format!(
                "{other:?} is not one of Continuous, OneTime, DryRun, ContinuousWithDriftDetection"
            )),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    source_cluster_selector: LabelSelector,
    #[serde(deserialize_with = "or_default")]
    one_for_event: bool,
    #[serde(deserialize_with = "or_default")]
    event_source_name: String,
    cloud_event_action: Option<String>,
    #[serde(deserialize_with = "or_default")]
    sync_mode: String,
    #[serde(deserialize_with = "or_default")]
    policy_refs: Vec<PolicyRefSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PolicyRefSpec {
    #[serde(deserialize_with = "or_default")]
    namespace: String,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    optional: bool,
    /// `Local` or `Remote`. With one cluster they mean the same.
    #[serde(rename = "deploymentType")]
    _deployment_type: Option<String>,
}

/// Fields of the resource definition that the dispatcher does not use.
fn sveltos_knows(field: &str) -> bool {
    const FIELDS: [&str; 18] = [
        "clusterSetRefs",
        "configMapGenerator",
        "continueOnConflict",
        "dependsOn",
        "destinationClusterSelector",
        "driftExclusions",
        "extraAnnotations",
        "extraLabels",
        "helmCharts",
        "kustomizationRefs",
        "maxUpdate",
        "patches",
        "reloader",
        "secretGenerator",
        "stopMatchingBehavior",
        "templateResourceRefs",
        "tier",
        "validateHealths",
    ];
    match field.strip_prefix("spec.") {
        Some(field) if field.starts_with("policyRefs[") => ["path", "tier", "force", "skipNamespaceCreation"]
            .iter()
            .any(|known| field.ends_with(&format!("].{known}"))),
        Some(field) => FIELDS.contains(&field),
        None => false,
    }
}

/// A trigger that creates and names nothing to create would take its events and lose them: it may be half a file. One that
/// names charts or kustomizations is for Sveltos.
fn without_policy_refs(document: &Document, action: Option<&str>) -> Problem {
    let is_for_sveltos = ["helmCharts", "kustomizationRefs"].iter().any(|field| document.has_spec(field));
    if is_for_sveltos || matches!(action, Some("Delete" | "")) {
        return document.warning("spec.policyRefs", "no policyRefs: this trigger makes nothing");
    }
    document.error(
        "spec.policyRefs",
        "no policyRefs: its events would be lost; name a ConfigMap, or remove the trigger",
    )
}

impl EventTrigger {
    pub(super) fn read(document: &Document, problems: &mut Vec<Problem>) -> Option<Self> {
        let object: Object<Spec> = object::read(document, sveltos_knows, problems)?;
        let name = object::name(document, &object.metadata, problems)?;
        let spec = object.spec;
        if !spec.one_for_event {
            let message = "must be true: false means one object for all events together, and then a Job's template has no event to read";
            problems.push(document.error("spec.oneForEvent", message));
        }
        if spec.event_source_name.is_empty() {
            problems.push(document.error("spec.eventSourceName", "is not set"));
        }
        let sync = spec.sync_mode.parse().map_err(|message: String| {
            problems.push(document.error("spec.syncMode", message));
        });
        if spec.policy_refs.is_empty() {
            problems.push(without_policy_refs(document, spec.cloud_event_action.as_deref()));
        }
        let source_name =
            TemplatedText::read(document, "spec.eventSourceName", spec.event_source_name, problems);
        let action = spec.cloud_event_action.unwrap_or_else(|| "Create".into());
        let action = TemplatedText::read(document, "spec.cloudEventAction", action, problems);
        let selector =
            Selector::read(document, "spec.sourceClusterSelector", spec.source_cluster_selector, problems);
        let policy_refs: Vec<_> = spec
            .policy_refs
            .into_iter()
            .enumerate()
            .map(|(index, spec)| PolicyRef::new(document, index, spec, problems))
            .collect();
        let trigger = Self {
            name,
            source_name: source_name?,
            source_position: document.position_of("spec.eventSourceName"),
            selector: selector?,
            action: action?,
            sync: sync.ok()?,
            policy_refs: policy_refs.into_iter().collect::<Option<_>>()?,
            position: document.position(),
        };
        trigger.check_action(document, problems);
        Some(trigger)
    }

    fn check_action(&self, document: &Document, problems: &mut Vec<Problem>) {
        match self.action.literal() {
            None | Some("Create" | "Delete") => {}
            Some("") => {
                let message =
                    "is empty: this trigger skips every event (Sveltos cannot bear an empty action)";
                problems.push(document.warning("spec.cloudEventAction", message));
            }
            Some(other) => {
                let message = format!("{other:?} is neither Create nor Delete");
                problems.push(document.error("spec.cloudEventAction", message));
            }
        }
    }
}

impl PolicyRef {
    fn new(
        document: &Document,
        index: usize,
        spec: PolicyRefSpec,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let base = format!("spec.policyRefs[{index}]");
        let kind = match spec.kind.as_str() {
            "ConfigMap" => Some(ContentKind::ConfigMap),
            "Secret" => Some(ContentKind::Secret),
            other => {
                let message = format!("{other:?} is neither ConfigMap nor Secret");
                problems.push(document.error(&format!("{base}.kind"), message));
                None
            }
        };
        if spec.name.is_empty() {
            problems.push(document.error(&format!("{base}.name"), "is not set"));
        }
        let name = TemplatedText::read(document, &format!("{base}.name"), spec.name, problems);
        let namespace = TemplatedText::read(document, &format!("{base}.namespace"), spec.namespace, problems);
        Some(Self {
            kind: kind?,
            namespace: namespace?,
            name: name?,
            optional: spec.optional,
            position: document.position_of(&base),
        })
    }
}
