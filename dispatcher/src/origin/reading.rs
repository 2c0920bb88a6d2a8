//! Which of a cluster's objects take force: one that is wrong stands in nobody's way. Pure.
//!
//! Others write into the same cluster, for Sveltos as well. An object with a mistake, such as a trigger of a kind that is not for us, is
//! left out; if it was in force before the mistake came, it stays as it was, together with what it refers to: its events go on.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::once;
use std::path::Path;

use serde_json::Value;

use super::object::Wanted;
use crate::manifest::{self, Manifests, Place, Problem, Severity};

/// Objects under the names that problems give them.
pub(super) type Objects = BTreeMap<String, Value>;

/// A set, what it was read from, and what is wrong with the objects that are not in it as they are.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) set: Manifests,
    pub(super) objects: Objects,
    pub(super) problems: Vec<Problem>,
}

/// Reads the objects; `before` are those in force.
pub(super) fn read(mut objects: Objects, before: &Objects) -> Result<Reading, Vec<Problem>> {
    let mut problems: Vec<_> =
        objects.iter().filter_map(|(name, object)| asks_for_a_secret(name, object)).collect();
    let mut wrong = named(&problems, &objects);
    // Every turn puts something back or leaves something out.
    for _ in 0..=2 * objects.len() + before.len() {
        for name in &wrong {
            if !put_back(&mut objects, before, name) {
                objects.remove(name);
            }
        }
        match manifest::from_objects(&objects) {
            Ok(set) => return Ok(Reading { set, objects, problems }),
            Err(more) => {
                wrong = named(&more, &objects);
                problems.extend(more.into_iter().filter(|problem| problem.severity == Severity::Error));
                if wrong.is_empty() {
                    break;
                }
            }
        }
    }
    Err(problems)
}

/// The objects that these problems are about.
fn named(problems: &[Problem], objects: &Objects) -> BTreeSet<String> {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let names = errors.filter_map(|problem| problem.file.to_str().map(str::to_owned));
    names.filter(|name| objects.contains_key(name)).collect()
}

/// Whether something of the object, or of what it refers to, was otherwise while it was in force; now it is so again.
fn put_back(objects: &mut Objects, before: &Objects, name: &str) -> bool {
    let Some(object) = before.get(name) else { return false };
    let source = object["spec"]["eventSourceName"].as_str().map(|source| format!("EventSource/{source}"));
    let texts = Wanted::by(once(object)).named();
    let mut is_other = false;
    for name in once(name.to_owned()).chain(source).chain(texts) {
        if let Some(old) = before.get(&name).filter(|old| objects.get(&name) != Some(old)) {
            objects.insert(name, old.clone());
            is_other = true;
        }
    }
    is_other
}

/// What is wrong with a trigger that refers to a Secret.
fn asks_for_a_secret(name: &str, object: &Value) -> Option<Problem> {
    let references = object["spec"]["policyRefs"].as_array()?;
    let index = references.iter().position(|one| one["kind"] == "Secret" && one["optional"] != true)?;
    Some(Problem::error(
        &Place::of_folder(Path::new(name)),
        format!("spec.policyRefs[{index}]"),
        "Secrets are not read from the cluster: put the text into a ConfigMap",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const API: &str = "lib.projectsveltos.io/v1beta1";

    fn source(name: &str) -> (String, Value) {
        let spec = json!({"messagingMatchCriteria": [{"subject": name}]});
        let object =
            json!({"apiVersion": API, "kind": "EventSource", "metadata": {"name": name}, "spec": spec});
        (format!("EventSource/{name}"), object)
    }

    fn trigger(name: &str, spec: &Value) -> (String, Value) {
        let mut whole = json!({"eventSourceName": name, "oneForEvent": true,
            "sourceClusterSelector": {"matchLabels": {"role": "deploy"}},
            "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": name}]});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let object =
            json!({"apiVersion": API, "kind": "EventTrigger", "metadata": {"name": name}, "spec": whole});
        (format!("EventTrigger/{name}"), object)
    }

    fn text(name: &str, text: &str) -> (String, Value) {
        let metadata = json!({"name": name, "namespace": "default", "annotations": {"projectsveltos.io/instantiate": "ok"}});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"job.yaml": text}});
        (format!("ConfigMap/default/{name}"), object)
    }

    /// A source, its trigger and its text.
    fn rule(name: &str) -> [(String, Value); 3] {
        [source(name), trigger(name, &json!({})), text(name, "kind: Job")]
    }

    fn triggers(reading: &Reading) -> Vec<&str> {
        reading.set.triggers.iter().map(|trigger| trigger.name.as_str()).collect()
    }

    #[test]
    fn a_trigger_that_is_not_for_us_is_left_out_and_says_why_and_the_others_serve() {
        for (spec, words) in [
            (
                json!({"policyRefs": [{"kind": "Secret", "namespace": "x", "name": "y"}]}),
                "Secrets are not read from the cluster",
            ),
            (
                json!({"policyRefs": [{"kind": "GitRepository", "namespace": "x", "name": "y"}]}),
                "GitRepository",
            ),
            (json!({"oneForEvent": false}), "oneForEvent"),
            (json!({"syncMode": "Sometimes"}), "Sometimes"),
            (json!({"eventSourceName": "nobody"}), "nobody"),
            (json!({"policyRefs": [{"kind": "ConfigMap", "namespace": "x", "name": "y"}]}), "x/y"),
        ] {
            let objects: Objects =
                rule("good").into_iter().chain([source("bad"), trigger("bad", &spec)]).collect();
            let reading = read(objects, &Objects::new()).unwrap();
            assert_eq!(triggers(&reading), ["good"], "{spec}");
            assert!(
                reading.problems.iter().all(|one| one.file == Path::new("EventTrigger/bad")),
                "{:?}",
                reading.problems
            );
            assert!(reading.problems[0].to_string().contains(words), "{:?}", reading.problems);
        }
    }

    #[test]
    fn what_was_in_force_before_its_mistake_stays_as_it_was() {
        let before = read(rule("a").into_iter().chain(rule("b")).collect(), &Objects::new()).unwrap().objects;
        let mistakes: [(&str, Option<Value>); 4] = [
            ("EventTrigger/a", Some(trigger("a", &json!({"oneForEvent": false})).1)),
            ("ConfigMap/default/a", Some(text("a", "{{ nothing").1)),
            ("ConfigMap/default/a", None),
            ("EventSource/a", None),
        ];
        for (name, mistake) in mistakes {
            let mut now = before.clone();
            now.remove(name);
            now.extend(mistake.map(|object| (name.to_owned(), object)));
            // A change of something else takes force all the same.
            now.extend([text("b", "kind: Other")]);
            let reading = read(now, &before).unwrap();
            assert_eq!(triggers(&reading), ["a", "b"], "{name}");
            assert_eq!(reading.objects[name], before[name], "{name}");
            assert_ne!(reading.objects["ConfigMap/default/b"], before["ConfigMap/default/b"]);
            assert!(!reading.problems.is_empty(), "{name}");
        }
        // What is removed as a whole is no mistake.
        let reading = read(rule("b").into(), &before).unwrap();
        assert_eq!((triggers(&reading), reading.problems.len()), (vec!["b"], 0));
    }
}
