//! The objects that a cluster's manifests are: which of them count, how they are named, and what of them is read. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{ApiResource, DynamicObject};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    EventSource,
    EventTrigger,
    ConfigMap,
}

/// Kind and namespace of a watch; the namespace is empty for what has none.
pub(super) type Place = (Kind, String);

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::EventSource => "EventSource",
            Self::EventTrigger => "EventTrigger",
            Self::ConfigMap => "ConfigMap",
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        let (group, version) = match self {
            Self::EventSource | Self::EventTrigger => ("lib.projectsveltos.io", "v1beta1"),
            Self::ConfigMap => ("", "v1"),
        };
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: self.name().to_owned(),
            plural: format!("{}s", self.name().to_lowercase()),
        }
    }
}

/// How problems name an object: `EventTrigger/user-saved-trigger`, `ConfigMap/default/user-saved-job`.
pub(super) fn shown(kind: Kind, object: &DynamicObject) -> String {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match object.metadata.namespace.as_deref().filter(|_| kind == Kind::ConfigMap) {
        Some(namespace) => format!("{}/{namespace}/{name}", kind.name()),
        None => format!("{}/{name}", kind.name()),
    }
}

/// What somebody wrote of the object, without what the API server and we write.
pub(super) fn plain(kind: Kind, object: &DynamicObject) -> Value {
    const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut value = object.data.clone();
    let annotations = object.metadata.annotations.iter().flatten().filter(|(key, _)| *key != APPLIED);
    let annotations: BTreeMap<_, _> = annotations.collect();
    let mut metadata = json!({ "name": object.metadata.name, "annotations": annotations });
    if kind == Kind::ConfigMap {
        metadata["namespace"] = json!(object.metadata.namespace);
    }
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
        fields.insert("apiVersion".into(), kind.resource().api_version.into());
        fields.insert("kind".into(), kind.name().into());
        fields.insert("metadata".into(), metadata);
    }
    value
}

/// The ConfigMaps that triggers refer to. A cluster has many others, which are nobody's business here.
#[derive(Default)]
pub(super) struct Wanted {
    named: BTreeSet<(String, String)>,
    /// A name is a template: then every ConfigMap that is one may be meant.
    any: bool,
}

impl Wanted {
    pub(super) fn by<'a>(triggers: impl Iterator<Item = &'a Value>) -> Self {
        let mut wanted = Self::default();
        for reference in
            triggers.flat_map(|trigger| trigger["spec"]["policyRefs"].as_array().into_iter().flatten())
        {
            let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            if namespace.contains("{{") || name.contains("{{") {
                wanted.any = true;
            } else if text("kind") == Kind::ConfigMap.name() {
                wanted.named.insert((namespace, name));
            }
        }
        wanted
    }

    pub(super) fn takes(&self, namespace: &str, name: &str, object: &DynamicObject) -> bool {
        let is_template = || {
            let annotations = object.metadata.annotations.as_ref();
            annotations.is_some_and(|all| all.contains_key("projectsveltos.io/instantiate"))
        };
        // An empty namespace is the cluster's own, whose name only the options say.
        let is_named = |namespace: &str| self.named.contains(&(namespace.to_owned(), name.to_owned()));
        is_named(namespace) || is_named("") || (self.any && is_template())
    }

    pub(super) fn named(self) -> impl Iterator<Item = String> {
        self.named
            .into_iter()
            .map(|(namespace, name)| format!("{}/{namespace}/{name}", Kind::ConfigMap.name()))
    }
}
