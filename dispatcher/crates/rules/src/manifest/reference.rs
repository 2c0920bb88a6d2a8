//! Problems between objects: duplicate names, and references to missing objects.

use std::collections::BTreeMap;

use super::{ConfigMap, Manifests, PolicyRef, Position, Problem};

/// Reports duplicate names, and literal references to missing objects. References with templates can only be checked
/// with an event.
pub(super) fn check(set: &Manifests, problems: &mut Vec<Problem>) {
    duplicates(
        "EventSource",
        set.sources.iter().map(|source| (source.name.clone(), &source.position)),
        problems,
    );
    duplicates(
        "EventTrigger",
        set.triggers.iter().map(|trigger| (trigger.name.clone(), &trigger.position)),
        problems,
    );
    let contents = set.config_maps.iter();
    duplicates(
        "object",
        contents.map(|map| (format!("{} {}/{}", map.kind, map.namespace, map.name), &map.position)),
        problems,
    );
    for trigger in &set.triggers {
        if let Some(name) = trigger.source_name.literal().filter(|name| !name.is_empty())
            && !set.sources.iter().any(|source| source.name == name)
        {
            let message =
                format!("EventTrigger {} refers to EventSource {name:?}, which is not here", trigger.name);
            problems.push(Problem::error(&trigger.source_position, "spec.eventSourceName", message));
        }
        for (index, reference) in trigger.policy_refs.iter().enumerate() {
            if let Some(message) = dangling(set, reference).or_else(|| empty(set, reference)) {
                let message = format!("EventTrigger {} refers to {message}", trigger.name);
                let field = format!("spec.policyRefs[{index}]");
                problems.push(Problem::error(&reference.position, field, message));
            }
        }
    }
}

fn duplicates<'a>(
    what: &str,
    all: impl Iterator<Item = (String, &'a Position)>,
    problems: &mut Vec<Problem>,
) {
    let mut first: BTreeMap<String, &Position> = BTreeMap::new();
    for (name, position) in all {
        if let Some(earlier) = first.get(&name) {
            let message = format!("{what} {name:?} is already at {earlier}");
            problems.push(Problem::error(position, "metadata.name", message));
        } else {
            first.insert(name, position);
        }
    }
}

/// Events would be acknowledged without a Job: the file may end too early.
fn empty(set: &Manifests, reference: &PolicyRef) -> Option<String> {
    let (name, namespace) = (reference.name.literal()?, reference.namespace.literal()?);
    let is_meant = |map: &&ConfigMap| {
        (map.kind, map.name.as_str()) == (reference.kind, name)
            && (namespace.is_empty() || map.namespace == namespace)
    };
    let map = set.config_maps.iter().find(is_meant)?;
    let place = format!("{} {}/{name}", reference.kind, map.namespace);
    if map.entries.is_empty() {
        return Some(format!("{place}, which has no data"));
    }
    map.entries
        .iter()
        .all(|entry| is_blank(&entry.text))
        .then(|| format!("{place}, whose texts are all empty"))
}

fn is_blank(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line == "---")
}

fn dangling(set: &Manifests, reference: &PolicyRef) -> Option<String> {
    let name = reference.name.literal().filter(|name| !name.is_empty())?;
    let namespace = reference.namespace.literal()?;
    let kind = reference.kind;
    let same_name = || set.config_maps.iter().filter(|map| map.kind == kind && map.name == name);
    // An empty namespace means the cluster's own, whose name is not known here, so an object of that name in any
    // namespace may be meant.
    if reference.optional || same_name().any(|map| namespace.is_empty() || map.namespace == namespace) {
        return None;
    }
    let here = match same_name().next() {
        Some(map) => format!("only {}/{name} is here", map.namespace),
        None => "which is not here".into(),
    };
    Some(format!("{kind} {namespace}/{name}, {here}"))
}
