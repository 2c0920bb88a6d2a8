//! Typed reading of one object: wrong types are errors, unknown fields are warnings, both with their field path.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Problem;
use super::document::Document;

/// The API group and version of Sveltos' objects.
pub(super) const SVELTOS: &str = "lib.projectsveltos.io/v1beta1";

pub(super) fn is_of_sveltos(version: &str) -> bool {
    version.split('/').next() == SVELTOS.split('/').next()
}

/// Why another version of our kinds is refused, and what to change.
pub(super) fn other_version(version: &str, kind: &str) -> String {
    let change = match (version, kind) {
        ("lib.projectsveltos.io/v1alpha1", "EventTrigger") => {
            "; besides the version, write sourceClusterSelector as matchLabels instead of a text such as role=deploy"
        }
        _ => "",
    };
    format!("{version} of {kind} is not known, only {SVELTOS}{change}")
}

/// The fields that every Kubernetes object has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object<Spec: DeserializeOwned + Default> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default", bound = "")]
    pub(super) spec: Spec,
    #[serde(default, rename = "status")]
    _status: Option<serde::de::IgnoredAny>,
}

/// Reads `document` as a `T`. `known` tells whether Sveltos knows a field that has no meaning here. Fields that the
/// API server filled in are not reported.
pub(super) fn read<T: DeserializeOwned>(
    document: &Document,
    known: impl Fn(&str) -> bool,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let (result, unknown) = read_closely(&document.value);
    for field in unknown {
        let is_known = known(&field);
        if is_known && is_default(&field, at(&document.value, &field)) {
            continue;
        }
        let message = if is_known {
            "Sveltos knows this field, the dispatcher does not: no effect"
        } else {
            "unknown field"
        };
        problems.push(document.warning(&field, message));
    }
    match result {
        Ok(object) => Some(object),
        Err(wrong) => {
            let path = wrong.path.to_string();
            let field = if path == "." { "" } else { path.as_str() };
            let message = wrong.error.to_string();
            let parts =
                message.strip_prefix("invalid type: ").and_then(|parts| parts.rsplit_once(", expected "));
            problems.push(document.error(
                field,
                match parts {
                    Some((unexpected, expected @ "a string")) => kyaml::other_type(unexpected, expected),
                    _ => message,
                },
            ));
            None
        }
    }
}

/// The value at a path such as `spec.policyRefs[0].tier`.
fn at<'a>(value: &'a Value, field: &str) -> &'a Value {
    field.split('.').fold(value, |value, segment| {
        let mut parts = segment.split(['[', ']']).filter(|part| !part.is_empty());
        let value = parts.next().map_or(value, |key| &value[key]);
        parts.fold(value, |value, index| index.parse::<usize>().map_or(&Value::Null, |index| &value[index]))
    })
}

/// Whether the value of a field is the default in the definitions of Sveltos.
fn is_default(field: &str, value: &Value) -> bool {
    match field.rsplit('.').next().unwrap_or_default() {
        "tier" => value == 100,
        "stopMatchingBehavior" => value == "WithdrawPolicies",
        _ => matches!(value, Value::Null | Value::Bool(false)),
    }
}

/// A problem with a value, and its path.
pub(crate) struct Wrong {
    pub(crate) error: serde_json::Error,
    pub(crate) path: serde_path_to_error::Path,
}

/// Reads a value as a `T`, and returns the paths of fields that a `T` does not have.
pub(crate) fn read_closely<'de, T: Deserialize<'de>>(value: &'de Value) -> (Result<T, Wrong>, Vec<String>) {
    let (mut track, mut unknown) = (serde_path_to_error::Track::new(), Vec::new());
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    // Boxed as one type: code for each of the many Kubernetes types would be most of the program.
    let mut note: &mut dyn FnMut(serde_ignored::Path<'_>) = &mut |path| unknown.push(field_path(&path));
    let result = T::deserialize(serde_ignored::Deserializer::new(tracked, &mut note));
    (result.map_err(|error| Wrong { error, path: track.path() }), unknown)
}

/// The name, which every object must have.
pub(super) fn name(
    document: &Document,
    metadata: &ObjectMeta,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    match metadata.name.as_deref() {
        Some(name) if !name.is_empty() => Some(name.to_owned()),
        _ => {
            problems.push(document.error("metadata.name", "is not set"));
            None
        }
    }
}

/// `null` means absent, as in the Kubernetes API.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `spec.policyRefs[0].name`, in the notation of `serde_path_to_error`.
fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => match field_path(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            field_path(parent)
        }
    }
}
