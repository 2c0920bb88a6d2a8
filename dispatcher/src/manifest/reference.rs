//! What concerns more than one object: names given twice, references to nothing.

use std::collections::BTreeMap;

use super::{Manifests, Place, PolicyRef, Problem};

/// Reports names that stand twice and literal references that lead nowhere; templated ones are known only with an event.
pub(super) fn check(set: &Manifests, problems: &mut Vec<Problem>) {
    duplicates(
        "EventSource",
        set.sources.iter().map(|source| (source.name.clone(), &source.place)),
        problems,
    );
    duplicates(
        "EventTrigger",
        set.triggers.iter().map(|trigger| (trigger.name.clone(), &trigger.place)),
        problems,
    );
    let contents = set.config_maps.iter();
    duplicates(
        "object",
        contents.map(|map| (format!("{} {}/{}", map.kind, map.namespace, map.name), &map.place)),
        problems,
    );
    for trigger in &set.triggers {
        if let Some(name) = trigger.source_name.literal().filter(|name| !name.is_empty())
            && !set.sources.iter().any(|source| source.name == name)
        {
            let message =
                format!("EventTrigger {} refers to EventSource {name:?}, which is not here", trigger.name);
            problems.push(Problem::error(&trigger.source_place, "spec.eventSourceName", message));
        }
        for (index, reference) in trigger.policy_refs.iter().enumerate() {
            if let Some(message) = dangling(set, reference) {
                let message = format!("EventTrigger {} refers to {message}", trigger.name);
                let field = format!("spec.policyRefs[{index}]");
                problems.push(Problem::error(&reference.place, field, message));
            }
        }
    }
}

fn duplicates<'a>(what: &str, all: impl Iterator<Item = (String, &'a Place)>, problems: &mut Vec<Problem>) {
    let mut first: BTreeMap<String, &Place> = BTreeMap::new();
    for (name, place) in all {
        if let Some(earlier) = first.get(&name) {
            let message = format!("{what} {name:?} is already at {earlier}");
            problems.push(Problem::error(place, "metadata.name", message));
        } else {
            first.insert(name, place);
        }
    }
}

fn dangling(set: &Manifests, reference: &PolicyRef) -> Option<String> {
    let name = reference.name.literal().filter(|name| !name.is_empty())?;
    let namespace = reference.namespace.literal()?;
    let kind = reference.kind;
    let same_name = || set.config_maps.iter().filter(|map| map.kind == kind && map.name == name);
    // An empty namespace is the cluster's own, whose name is not known here: any of that name may be meant.
    if reference.optional || same_name().any(|map| namespace.is_empty() || map.namespace == namespace) {
        return None;
    }
    let here = match same_name().next() {
        Some(map) => format!("only {}/{name} is here", map.namespace),
        None => "which is not here".into(),
    };
    Some(format!("{kind} {namespace}/{name}, {here}"))
}
