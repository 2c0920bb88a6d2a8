//! Decides which objects take force, so that a mistake in one does not stop the others. Pure.
//!
//! An object with a mistake is left out, together with the triggers that refer to it. If it was in force before the
//! mistake, it stays as it was, together with what it refers to, so that its events are still handled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::document::{self, Document};
use super::file::File;
use super::{EventSource, Manifests, Problem, Sample, Selector, Severity, assemble, refuses};

/// An object that is not in force, because of a mistake in it or in an object that it refers to.
#[derive(Debug, Clone)]
pub struct LeftOut {
    /// Kind and name.
    pub name: String,
    /// What is wrong.
    pub why: String,
    /// The clusters that it is for; `None` if that cannot be read.
    pub selector: Option<Selector>,
    /// For a trigger that refers to an object that does not exist yet: what counts as its event. A trigger with a
    /// mistake in itself may belong to others who share the cluster, so its events are not ours.
    pub sources: Vec<EventSource>,
}

/// Reports what triggers of a set need and nobody provides, each problem at the trigger's position.
pub type Unmet<'a> = dyn Fn(&Manifests) -> Vec<Problem> + 'a;

/// Objects by their keys.
type Objects = BTreeMap<String, Document>;

/// Reads the files. `before` is the set in force, `known` are problems that were found elsewhere, and `unmet` reports
/// what a set needs and nobody provides.
pub(super) fn read(
    files: &[File],
    samples: &[Sample],
    before: Option<&Manifests>,
    known: Vec<Problem>,
    unmet: &Unmet,
) -> Result<Manifests, Vec<Problem>> {
    let before: Objects = before
        .into_iter()
        .flat_map(|set| set.documents.iter())
        .map(|document| (document.key(), document.clone()))
        .collect();
    let given = known.len();
    let (mut faults, mut objects) = (known, Objects::new());
    for file in files {
        let mut problems = Vec::new();
        for document in document::parse(file, &mut problems) {
            // If a name occurs twice, the second object is the mistake.
            if let Some(first) = objects.get(&document.key()) {
                let message = format!("{} is already at {}", document.key(), first.position());
                problems.push(document.error("metadata.name", message));
            } else {
                objects.insert(document.key(), document);
            }
        }
        if refuses(&problems) {
            keep(&file.path, &before, &Objects::new(), &mut objects);
        }
        faults.extend(problems);
    }
    let (mut removed, mut dangling) = (Objects::new(), BTreeSet::new());
    // What an unreadable file contained before is not a mistake.
    let mut wrong = named(&faults[..given], &objects);
    // Each turn restores or leaves out at least one object, so this ends.
    for _ in 0..=2 * objects.len() + before.len() {
        for key in &wrong {
            if !put_back(&mut objects, &before, key)
                && let Some(object) = objects.remove(key)
            {
                let file = object.position().file;
                removed.insert(key.clone(), object);
                keep(&file, &before, &removed, &mut objects);
            }
        }
        let (set, mut problems, of_references) = assemble(files, objects.values(), samples);
        if of_references {
            problems.extend(unmet(&set));
        }
        wrong = named(&problems, &objects);
        if of_references {
            dangling.extend(wrong.iter().cloned());
        }
        let (errors, warnings): (Vec<_>, Vec<_>) =
            problems.into_iter().partition(|problem| problem.severity == Severity::Error);
        faults.extend(errors);
        faults.sort();
        faults.dedup();
        if wrong.is_empty() {
            let mut set = Manifests { warnings, ..set };
            set.left_out = left_out(&faults, &removed, &dangling, &set.sources);
            set.faults = faults.into_iter().filter(|one| one.severity == Severity::Error).collect();
            set.documents = objects.into_values().collect::<Vec<_>>().into();
            return Ok(set);
        }
    }
    Err(faults)
}

/// If a file has a mistake, its earlier objects are not removed, because it may be half written.
fn keep(file: &Path, before: &Objects, removed: &Objects, objects: &mut Objects) {
    let was_here = |old: &&Document| *old.position().file == *file && !removed.contains_key(&old.key());
    for old in before.values().filter(was_here) {
        objects.entry(old.key()).or_insert_with(|| old.clone());
    }
}

/// The objects that these problems belong to.
fn named(problems: &[Problem], objects: &Objects) -> BTreeSet<String> {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.filter_map(|problem| about(problem, objects).map(Document::key)).collect()
}

/// The object that a problem belongs to: the last one in its file that begins at or before its line.
fn about<'a>(problem: &Problem, objects: &'a Objects) -> Option<&'a Document> {
    let of_file = objects.values().filter(|document| *document.position().file == problem.file);
    of_file
        .filter(|document| document.position().line <= problem.line.max(1) || problem.line == 0)
        .max_by_key(|document| document.position().line)
}

/// Restores the object, and what it refers to, as they were in force. Returns whether this changed anything.
fn put_back(objects: &mut Objects, before: &Objects, key: &str) -> bool {
    let Some(object) = before.get(key) else { return false };
    let mut is_other = false;
    for key in [key.to_owned()].into_iter().chain(references(object)) {
        let is_so = |old: &&Document| objects.get(&key).is_none_or(|now| now.value != old.value);
        if let Some(old) = before.get(&key).filter(is_so) {
            objects.insert(key, old.clone());
            is_other = true;
        }
    }
    is_other
}

/// The keys of the objects that a trigger refers to by literal names.
fn references(trigger: &Document) -> Vec<String> {
    let spec = &trigger.value["spec"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let texts = spec["policyRefs"].as_array().into_iter().flatten();
    let texts =
        texts.map(|one| format!("{}/{}/{}", text(&one["kind"]), text(&one["namespace"]), text(&one["name"])));
    let source = spec["eventSourceName"].as_str().map(|name| format!("EventSource/{name}"));
    texts.chain(source).collect()
}

/// The objects that were left out, with what is known about them.
fn left_out(
    faults: &[Problem],
    removed: &Objects,
    dangling: &BTreeSet<String>,
    sources: &[EventSource],
) -> Vec<LeftOut> {
    let one = |(key, document): (&String, &Document)| {
        let spec = &document.value["spec"];
        let own = faults.iter().find(|fault| about(fault, removed).is_some_and(|one| one.key() == *key));
        let named = |source: &&EventSource| dangling.contains(key) && spec["eventSourceName"] == *source.name;
        LeftOut {
            name: key.clone(),
            why: own.map(ToString::to_string).unwrap_or_default(),
            selector: LabelSelector::deserialize(&spec["sourceClusterSelector"]).ok().and_then(Selector::of),
            sources: sources.iter().filter(named).cloned().collect(),
        }
    };
    removed.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde_json::{Value, json};

    use crate::manifest::{Manifests, from_objects};

    type Objects = BTreeMap<String, Value>;

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

    /// A source, its trigger and its ConfigMap.
    fn rule(name: &str) -> [(String, Value); 3] {
        [source(name), trigger(name, &json!({})), text(name, "kind: Job")]
    }

    fn read(objects: &Objects, before: Option<&Manifests>) -> Manifests {
        from_objects(objects, before, Vec::new(), &|_| Vec::new()).unwrap()
    }

    fn triggers(set: &Manifests) -> Vec<&str> {
        set.triggers.iter().map(|trigger| trigger.name.as_str()).collect()
    }

    #[test]
    fn a_trigger_that_is_not_for_us_is_left_out_and_says_why_and_the_others_serve() {
        for (spec, words) in [
            (json!({"policyRefs": [{"kind": "Secret", "namespace": "x", "name": "y"}]}), "Secret x/y"),
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
            let set = read(&objects, None);
            assert_eq!(triggers(&set), ["good"], "{spec}");
            let of_bad = |file: &Path| file == Path::new("EventTrigger/bad");
            assert!(set.faults.iter().all(|one| of_bad(&one.file)), "{:?}", set.faults);
            assert!(set.faults[0].to_string().contains(words), "{:?}", set.faults);
            assert_eq!(set.left_out[0].name, "EventTrigger/bad");
        }
    }

    #[test]
    fn what_was_in_force_before_its_mistake_stays_as_it_was() {
        let objects: Objects = rule("a").into_iter().chain(rule("b")).collect();
        let before = read(&objects, None);
        let mistakes: [(&str, Option<Value>); 4] = [
            ("EventTrigger/a", Some(trigger("a", &json!({"oneForEvent": false})).1)),
            ("ConfigMap/default/a", Some(text("a", "{{ nothing").1)),
            ("ConfigMap/default/a", None),
            ("EventSource/a", None),
        ];
        for (name, mistake) in mistakes {
            let mut now = objects.clone();
            now.remove(name);
            now.extend(mistake.map(|object| (name.to_owned(), object)));
            // A change of another object still takes force.
            now.extend([text("b", "kind: Other")]);
            let set = read(&now, Some(&before));
            assert_eq!(triggers(&set), ["a", "b"], "{name}");
            let texts: Vec<_> = set.config_maps.iter().map(|map| map.entries[0].text.as_str()).collect();
            assert_eq!(texts, ["kind: Job", "kind: Other"], "{name}");
            assert!(!set.faults.is_empty() && set.left_out.is_empty(), "{name}");
        }
        // Removing a whole object is not a mistake.
        let set = read(&rule("b").into(), Some(&before));
        assert_eq!((triggers(&set), set.faults.len()), (vec!["b"], 0));
    }
}
