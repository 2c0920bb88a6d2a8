//! The condition `Ready` of an object: whether the dispatcher uses it. Pure.

use chrono::{SecondsFormat, Utc};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::manifest::{Problem, Severity};

const TYPE: &str = "Ready";
/// Far below the size that a condition may have.
const MOST: usize = 4096;

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in force.
    InForce,
    /// The object, or a text that it refers to, has this mistake. It is left out, or stays in force as it was before.
    Invalid(String),
}

impl Verdict {
    /// The verdict on the object with these names in problems.
    pub(super) fn on(files: &[String], problems: &[Problem]) -> Self {
        let own: Vec<_> = problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .filter(|problem| files.iter().any(|file| problem.file.as_os_str() == file.as_str()))
            .map(ToString::to_string)
            .collect();
        if own.is_empty() { Self::InForce } else { Self::Invalid(own.join("; ")) }
    }

    fn parts(&self) -> (&'static str, &'static str, String) {
        match self {
            Self::InForce => ("True", "InForce", "the dispatcher works by it".to_owned()),
            Self::Invalid(why) => ("False", "Invalid", why.chars().take(MOST).collect()),
        }
    }
}

/// The object's conditions including this verdict; `None` if they already have it.
pub(super) fn conditions(object: &DynamicObject, verdict: &Verdict) -> Option<Vec<Value>> {
    let known = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let before = known.iter().find(|condition| condition["type"] == TYPE);
    let (status, reason, message) = verdict.parts();
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let since =
        before.filter(|before| before["status"] == status).map(|before| before["lastTransitionTime"].clone());
    let mut ready = json!({
        "type": TYPE, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| now.into()),
    });
    if let Some(generation) = object.metadata.generation {
        ready["observedGeneration"] = generation.into();
    }
    if before == Some(&ready) {
        return None;
    }
    let others = known.iter().filter(|condition| condition["type"] != TYPE).cloned();
    Some(others.chain([ready.clone()]).collect())
}

/// Whether a written object still has the condition. A definition without the field drops it.
pub(super) fn is_kept(object: &DynamicObject) -> bool {
    let known = object.data["status"]["conditions"].as_array();
    known.into_iter().flatten().any(|condition| condition["type"] == TYPE)
}

/// Whether Sveltos has deployed the trigger to a cluster, or is about to.
pub(super) fn is_of_sveltos(trigger: &DynamicObject) -> bool {
    let clusters = trigger.data["status"]["clusterInfo"].as_array();
    clusters
        .into_iter()
        .flatten()
        .any(|cluster| cluster["status"].as_str().is_some_and(|status| status.starts_with("Provision")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Position;
    use std::path::Path;

    fn object(conditions: &Value) -> DynamicObject {
        let value = json!({"metadata": {"name": "t", "generation": 3}, "status": {"conditions": conditions}});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_verdict_tells_own_mistakes_from_those_of_others() {
        let problem = |file: &str| Problem::error(&Position::of_folder(Path::new(file)), "spec", "wrong");
        let files = ["EventTrigger/t".to_owned(), "ConfigMap/default/c".to_owned()];
        assert_eq!(Verdict::on(&files, &[]), Verdict::InForce);
        for own in &files {
            assert!(matches!(
                Verdict::on(&files, &[problem("EventTrigger/x"), problem(own)]),
                Verdict::Invalid(_)
            ));
        }
        assert_eq!(Verdict::on(&files, &[problem("EventTrigger/tt")]), Verdict::InForce);
    }

    #[test]
    fn a_condition_is_written_once_and_keeps_its_neighbours_and_its_time() {
        let first =
            conditions(&object(&json!([{"type": "Other", "status": "True"}])), &Verdict::InForce).unwrap();
        assert_eq!(
            (first.len(), &first[0]["type"], &first[1]["status"]),
            (2, &json!("Other"), &json!("True"))
        );
        assert_eq!(first[1]["observedGeneration"], 3);
        assert_eq!(conditions(&object(&json!(first)), &Verdict::InForce), None);
        let mut old = first.clone();
        old[1]["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
        let wrong = conditions(&object(&json!(old)), &Verdict::Invalid("w".into())).unwrap();
        assert_eq!((&wrong[1]["status"], &wrong[1]["message"]), (&json!("False"), &json!("w")));
        assert_ne!(wrong[1]["lastTransitionTime"], old[1]["lastTransitionTime"]);
        old[1]["observedGeneration"] = json!(2);
        let again = conditions(&object(&json!(old)), &Verdict::InForce).unwrap();
        assert_eq!(again[1]["lastTransitionTime"], old[1]["lastTransitionTime"]);
    }
}
