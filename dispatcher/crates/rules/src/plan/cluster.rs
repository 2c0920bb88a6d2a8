//! The cluster that the dispatcher serves: what selectors and `.Cluster` see of it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::IncomingEvent;
use crate::manifest::EventTrigger;
use gotemplate::{Context, TemplateError};

/// An empty object reference, in which all fields exist and are empty.
pub(super) static MATCHING_RESOURCE: LazyLock<Value> = LazyLock::new(
    || json!({"APIVersion": "", "Kind": "", "Namespace": "", "Name": "", "UID": "", "ResourceVersion": "", "FieldPath": ""}),
);

/// A cluster as Sveltos would see it.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// `SveltosCluster` or `Cluster`.
    pub kind: String,
    /// Its own namespace, which a policyRef without a namespace means.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels, which selectors match.
    pub labels: BTreeMap<String, String>,
}

impl Default for Cluster {
    /// The management cluster `mgmt/mgmt` with the label `role=deploy`.
    fn default() -> Self {
        Self {
            kind: "SveltosCluster".into(),
            namespace: "mgmt".into(),
            name: "mgmt".into(),
            labels: BTreeMap::from([("role".into(), "deploy".into())]),
        }
    }
}

impl Cluster {
    /// `.Cluster`.
    pub fn view(&self) -> Value {
        json!({
            "kind": self.kind,
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": self.labels },
        })
    }

    /// Everything that the templates of a trigger with `oneForEvent: true` see; `cluster` is [`Self::view`].
    pub(super) fn context<'a>(event: &'a IncomingEvent, cluster: &'a Value) -> Context<'a> {
        Context::from([
            ("CloudEvent", event.view()),
            ("Cluster", cluster),
            ("Resource", &Value::Null),
            ("MatchingResource", &MATCHING_RESOURCE),
        ])
    }

    /// The name of the EventSource that a trigger refers to: a template that sees only `.Cluster`.
    pub fn source_name(&self, trigger: &EventTrigger) -> Result<String, TemplateError> {
        match trigger.source_name.literal() {
            Some(name) => Ok(name.to_owned()),
            None => trigger.source_name.render([("Cluster", &self.view())]),
        }
    }
}
