//! ConfigMaps, and Secrets of the type that Sveltos reads: the texts that triggers render.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::document::Document;
use super::object::{self, or_default};
use super::{Position, Problem, TextPosition};
use gotemplate::Template;

/// If this annotation is present, the text is a template; its value does not matter.
const INSTANTIATE: &str = "projectsveltos.io/instantiate";
/// Names the NATS subjects on which the image of a foreign Job publishes, each alone or as `subject=type`, separated
/// by commas or spaces.
const EMITS: &str = "knapscen.disco/emits";
/// Names NATS subjects whose events start no Job, separated by commas or spaces. Events there are acknowledged at
/// once.
const ENDS: &str = "knapscen.disco/ends";
/// With the value `allow`, safe rendering is off for this text.
const PRINTED_YAML: &str = "knapscen.disco/printed-yaml";
/// The type of the Secrets that Sveltos reads; all others are ignored.
const SECRET_TYPE: &str = "addons.projectsveltos.io/cluster-profile";

/// The kind of the object that contains the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContentKind {
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Secret of Sveltos' type.
    Secret,
}

impl fmt::Display for ContentKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        })
    }
}

/// The texts of one object.
#[derive(Debug, Clone)]
pub struct ConfigMap {
    /// The kind of the object.
    pub kind: ContentKind,
    /// `metadata.namespace`; `default` if it is not set, as in `kubectl`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Every key of `.data`, sorted.
    pub entries: Vec<Entry>,
    /// NATS subjects on which a foreign image publishes, from the annotation: each alone or as `subject=type`.
    pub emits: Vec<String>,
    /// Whether the annotation is present, even if empty: the image then publishes nothing else.
    pub says_emits: bool,
    /// NATS subjects whose events start no Job, from the annotation.
    pub ends: Vec<String>,
    /// Whether printed event data becomes YAML, because safe rendering is off.
    pub printed_yaml: bool,
    /// Its position in the manifests.
    pub position: Position,
}

/// One key of `.data`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key, such as `job.yaml`.
    pub key: String,
    /// The text, unchanged.
    pub text: String,
    /// The parsed template; `None` without the annotation: the text is then used unchanged.
    pub template: Option<Arc<Template>>,
    /// The position of the text.
    pub position: TextPosition,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default, deserialize_with = "or_default")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    data: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    string_data: BTreeMap<String, String>,
    #[serde(default, rename = "type")]
    _type: Option<String>,
    #[serde(default, rename = "immutable")]
    _immutable: Option<bool>,
}

impl ConfigMap {
    pub(super) fn read(document: &Document, problems: &mut Vec<Problem>) -> Option<Self> {
        let content: Content = object::read(document, |field| field == "binaryData", problems)?;
        let texts = content.data.into_iter().map(|(key, text)| (format!("data.{key}"), key, text)).collect();
        Self::new(ContentKind::ConfigMap, document, &content.metadata, texts, problems)
    }

    pub(super) fn is_secret_of_sveltos(document: &Document) -> bool {
        document.text("type") == Some(SECRET_TYPE)
    }

    pub(super) fn read_secret(document: &Document, problems: &mut Vec<Problem>) -> Option<Self> {
        if !Self::is_secret_of_sveltos(document) {
            problems.push(
                document.warning("kind", format!("a Secret that is not of type {SECRET_TYPE}: ignored")),
            );
            return None;
        }
        let content: Content = object::read(document, |_| false, problems)?;
        let mut texts: Vec<_> = content
            .string_data
            .into_iter()
            .map(|(key, text)| (format!("stringData.{key}"), key, text))
            .collect();
        for (key, encoded) in content.data {
            let field = format!("data.{key}");
            let bytes = BASE64_STANDARD.decode(encoded.split_whitespace().collect::<String>()).ok();
            match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                Some(text) => texts.push((field, key, text)),
                None => problems.push(document.error(&field, "is not text in base64")),
            }
        }
        Self::new(ContentKind::Secret, document, &content.metadata, texts, problems)
    }

    fn new(
        kind: ContentKind,
        document: &Document,
        metadata: &ObjectMeta,
        texts: Vec<(String, String, String)>,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let name = object::name(document, metadata, problems)?;
        let annotation = |key| metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
        let emits = annotation(EMITS);
        let printed_yaml = match annotation(PRINTED_YAML) {
            None => false,
            Some("allow") => {
                let message = "safe rendering is off: what an event sends can change the Job itself";
                problems.push(document.warning(&format!("metadata.annotations.{PRINTED_YAML}"), message));
                true
            }
            Some(other) => {
                let message = format!("{other:?} is not `allow`");
                problems.push(document.error(&format!("metadata.annotations.{PRINTED_YAML}"), message));
                false
            }
        };
        let instantiate = annotation(INSTANTIATE).is_some();
        let entries: Option<Vec<_>> = texts
            .into_iter()
            .map(|(field, key, text)| Entry::new(document, &field, key, text, instantiate, problems))
            .collect();
        Some(Self {
            kind,
            namespace: metadata
                .namespace
                .clone()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "default".into()),
            name,
            entries: entries?,
            says_emits: emits.is_some(),
            emits: words(emits),
            ends: words(annotation(ENDS)),
            printed_yaml,
            position: document.position(),
        })
    }
}

fn words(annotation: Option<&str>) -> Vec<String> {
    let parts = annotation.unwrap_or_default().split([',', ' ']);
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

impl Entry {
    fn new(
        document: &Document,
        field: &str,
        key: String,
        text: String,
        instantiate: bool,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let position = document.text_of(field);
        if !instantiate {
            if text.contains("{{") {
                let message = format!(
                    "holds template actions, but without the annotation {INSTANTIATE} they are not rendered: set it, with any value"
                );
                problems.push(document.error(field, message));
                return None;
            }
            return Some(Self { key, text, template: None, position });
        }
        match Template::parse(&key, &text) {
            Ok(template) => Some(Self { key, text, template: Some(Arc::new(template)), position }),
            Err(error) => {
                problems.push(Problem::error(
                    &position.line(error.line.unwrap_or(1)),
                    field,
                    format!("bad template: {}", error.message),
                ));
                None
            }
        }
    }
}
