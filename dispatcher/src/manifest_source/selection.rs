//! The objects of a cluster that are manifests: which of them count, how they are named, and which parts are read.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kube::api::{ApiResource, DynamicObject};
use serde_json::{Value, json};

use crate::manifest::{self, Problem};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    EventSource,
    EventTrigger,
    ConfigMap,
}

/// Kind and namespace of a watch; the namespace is empty for kinds without one.
pub(super) type WatchKey = (Kind, String);

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

/// The name of an object in problems: `EventTrigger/user-saved-trigger`, `ConfigMap/default/user-saved-job`.
pub(super) fn shown(kind: Kind, object: &DynamicObject) -> String {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match object.metadata.namespace.as_deref().filter(|_| kind == Kind::ConfigMap) {
        Some(namespace) => format!("{}/{namespace}/{name}", kind.name()),
        None => format!("{}/{name}", kind.name()),
    }
}

/// What somebody wrote in the object, without what the API server and we write.
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

/// The problem of a trigger that refers to a Secret.
pub(super) fn asks_for_a_secret(name: &str, object: &Value) -> Option<Problem> {
    let references = object["spec"]["policyRefs"].as_array()?;
    let index = references.iter().position(|one| one["kind"] == "Secret" && one["optional"] != true)?;
    Some(Problem::error(
        &manifest::Position::of_folder(Path::new(name)),
        format!("spec.policyRefs[{index}]"),
        "Secrets are not read from the cluster: put the text into a ConfigMap",
    ))
}

/// The ConfigMaps that triggers refer to. A cluster has many others, which do not matter here.
#[derive(Default)]
pub(super) struct Wanted {
    named: BTreeSet<(String, String)>,
    /// A name is a template, so every ConfigMap with a template may be meant.
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
        // An empty namespace means the cluster's own, whose name only the options tell.
        let is_named = |namespace: &str| self.named.contains(&(namespace.to_owned(), name.to_owned()));
        is_named(namespace) || is_named("") || (self.any && is_template())
    }

    pub(super) fn named(self) -> impl Iterator<Item = String> {
        self.named
            .into_iter()
            .map(|(namespace, name)| format!("{}/{namespace}/{name}", Kind::ConfigMap.name()))
    }
}
