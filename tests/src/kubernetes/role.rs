//! What the shipped Roles grant.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

use super::record::Asked;

/// Where Roles are, in `dispatcher/deploy`.
const FILES: [&str; 2] = ["base/access.yaml", "components/from-cluster/access.yaml"];

/// One verb on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    verb: String,
    group: String,
    resource: String,
    /// Granted by a Role: only in its namespace.
    is_namespaced: bool,
}

impl Grant {
    /// Whether it covers a call.
    pub fn covers(&self, asked: &Asked) -> bool {
        (&self.verb, &self.group, &self.resource) == (&asked.verb, &asked.group, &asked.resource)
            && (!self.is_namespaced || !asked.namespace.is_empty())
    }
}

/// Everything that the shipped Roles grant, one by one.
pub fn grants() -> &'static [Grant] {
    static GRANTS: OnceLock<Vec<Grant>> = OnceLock::new();
    GRANTS.get_or_init(|| FILES.iter().flat_map(|file| read(file)).collect())
}

/// Why a call is refused, in the API server's words.
pub(super) fn refusal(asked: &Asked) -> Option<String> {
    if grants().iter().any(|grant| grant.covers(asked)) {
        return None;
    }
    let Asked { verb, group, resource, namespace } = asked;
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{namespace}\"")
    };
    Some(format!(
        "{resource}.{group} is forbidden: User \"system:serviceaccount:{namespace}:knapscen-dispatcher\" cannot {verb} resource \
         \"{resource}\" in API group \"{group}\" {place}"
    ))
}

fn read(file: &str) -> Vec<Grant> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dispatcher/deploy").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    documents.iter().flat_map(grants_of).collect()
}

fn grants_of(document: &Value) -> Vec<Grant> {
    let kind = document["kind"].as_str().unwrap_or_default();
    let rules = document["rules"].as_array().into_iter().flatten().filter(|_| kind.ends_with("Role"));
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let values = rule[field].as_array().into_iter().flatten();
        values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let mut all = Vec::new();
    for rule in rules {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                let grant = |verb| Grant {
                    verb,
                    group: group.clone(),
                    resource: resource.clone(),
                    is_namespaced: kind == "Role",
                };
                all.extend(texts(rule, "verbs").into_iter().map(grant));
            }
        }
    }
    all
}
