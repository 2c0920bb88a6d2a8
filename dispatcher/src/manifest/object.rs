//! Typed reading of one object: wrong types are errors, unknown fields are warnings, both with their field path.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Problem;
use super::document::Document;

/// The API group and version of Sveltos' own objects.
pub(super) const SVELTOS: &str = "lib.projectsveltos.io/v1beta1";

/// What every Kubernetes object has around its own fields.
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

/// Reads `document` as a `T`. `known` says of a field that has no meaning here whether Sveltos knows it.
pub(super) fn read<T: DeserializeOwned>(
    document: &Document,
    known: impl Fn(&str) -> bool,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let (result, unknown) = read_closely(&document.value);
    for field in unknown {
        let message = if known(&field) {
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
            problems.push(document.error(field, wrong.error.to_string()));
            None
        }
    }
}

/// What is wrong with a value, and where.
pub(crate) struct Wrong {
    pub(crate) error: serde_json::Error,
    pub(crate) path: serde_path_to_error::Path,
}

/// Reads a value as a `T`, and says by their paths which fields it has that a `T` has not.
pub(crate) fn read_closely<'de, T: Deserialize<'de>>(value: &'de Value) -> (Result<T, Wrong>, Vec<String>) {
    let (mut track, mut unknown) = (serde_path_to_error::Track::new(), Vec::new());
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    // Behind one type for all: what is made of the many types of Kubernetes for each would be most of the program.
    let mut note: &mut dyn FnMut(serde_ignored::Path<'_>) = &mut |path| unknown.push(field_path(&path));
    let result = T::deserialize(serde_ignored::Deserializer::new(tracked, &mut note));
    (result.map_err(|error| Wrong { error, path: track.path() }), unknown)
}

/// The object's name, which every object must have.
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

/// `null` is the same as absent, as the Kubernetes API has it.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `spec.policyRefs[0].name`, the same way `serde_path_to_error` writes it.
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
