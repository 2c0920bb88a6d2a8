//! What a trigger needs in addition to its own text: the objects that its names mean on this cluster, and the Secrets
//! and ConfigMaps that its templates name. Without a Kubernetes cluster, the operator has to provide those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::{Cluster, flow};
use crate::manifest::{ContentKind, Entry, EventTrigger, Manifests, Position, Problem};

/// The environment in which the triggers of a set must work.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// The cluster that the dispatcher serves.
    pub cluster: Cluster,
    /// The names that Jobs can refer to; `None` if only a Kubernetes cluster knows them.
    pub given: Option<Given>,
}

/// The names of what Jobs can refer to.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Secrets.
    pub secrets: BTreeSet<String>,
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
}

impl Needs {
    /// Reports what the triggers of this cluster need and do not find, each problem at its trigger.
    pub fn unmet(&self, set: &Manifests) -> Vec<Problem> {
        let ours = set.triggers.iter().filter(|trigger| trigger.selector.matches(&self.cluster.labels));
        ours.flat_map(|trigger| {
            let mut problems = nowhere(set, &self.cluster, trigger);
            problems.extend(self.given.iter().flat_map(|given| self.unmet_by(given, set, trigger)));
            problems
        })
        .collect()
    }

    /// What the templates name and nobody provides, except optional objects and names that depend on an event.
    fn unmet_by(&self, given: &Given, set: &Manifests, trigger: &EventTrigger) -> Vec<Problem> {
        let entries = flow::maps(set, &self.cluster, trigger).flat_map(|map| &map.entries);
        let mut first: BTreeMap<(&str, String), (ContentKind, Position)> = BTreeMap::new();
        for (kind, name, position) in entries.flat_map(named) {
            let (given, option) = match kind {
                ContentKind::Secret => (&given.secrets, "--secret"),
                ContentKind::ConfigMap => (&given.config_maps, "--config-map"),
            };
            if !given.contains(&name) {
                first.entry((option, name)).or_insert((kind, position));
            }
        }
        let problem = |((option, name), (kind, position))| {
            let message = format!(
                "its Jobs need the {kind} {name} ({position}), which is not given: start with {option} {name}=PATH"
            );
            Problem::error(&trigger.position, "spec.policyRefs", message)
        };
        first.into_iter().map(problem).collect()
    }
}

/// The names of the trigger that lead nowhere on this cluster, beyond what the set alone shows.
pub fn nowhere(set: &Manifests, cluster: &Cluster, trigger: &EventTrigger) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut source = |message: String| {
        problems.push(Problem::error(&trigger.source_position, "spec.eventSourceName", message));
    };
    match cluster.source_name(trigger) {
        Err(error) => source(format!("cannot be rendered over .Cluster alone: {}", error.message)),
        Ok(name) if !set.sources.iter().any(|source| source.name == name) => {
            source(format!(
                "EventTrigger {} refers to EventSource {name:?}, which is not here",
                trigger.name
            ));
        }
        Ok(_) => {}
    }
    for (index, reference) in trigger.policy_refs.iter().enumerate() {
        let (Some(name), Some("")) = (reference.name.literal(), reference.namespace.literal()) else {
            continue;
        };
        if !reference.optional && set.config_map(reference.kind, &cluster.namespace, name).is_none() {
            let message = format!(
                "without a namespace it is that of the cluster, {own}, and there is no {kind} {own}/{name}: write the namespace",
                own = cluster.namespace,
                kind = reference.kind
            );
            problems.push(Problem::error(&reference.position, format!("spec.policyRefs[{index}]"), message));
        }
    }
    problems
}

#[expect(clippy::unwrap_used, reason = "constant expressions, tried by tests")]
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?m)\b(secretKeyRef|secretRef|configMapKeyRef|configMapRef|secret|configMap)["']?[ \t]*:[ \t]*"#,
    )
    .unwrap()
});
#[expect(clippy::unwrap_used, reason = "constant expressions, tried by tests")]
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?m)(?:^|[\s{,"'])(?:secretName|name)["']?[ \t]*:[ \t]*["']?([^\s,}"']+)"#).unwrap()
});
#[expect(clippy::unwrap_used, reason = "constant expressions, tried by tests")]
static OPTIONAL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"\boptional["']?[ \t]*:[ \t]*true\b"#).unwrap());

/// The text is a template, and only becomes YAML with an event, so it is searched as it is written.
fn named(entry: &Entry) -> Vec<(ContentKind, String, Position)> {
    let text = without_comments(&entry.text);
    let mut found = Vec::new();
    for reference in REFERENCE.captures_iter(&text) {
        let (Some(whole), Some(key)) = (reference.get(0), reference.get(1)) else { continue };
        let block = block(&text, key.start(), whole.end());
        let Some(name) = NAME.captures(block).and_then(|found| found.get(1)).map(|name| name.as_str()) else {
            continue;
        };
        if name.contains(['{', '}', '$']) || OPTIONAL.is_match(block) {
            continue;
        }
        let kind =
            if key.as_str().starts_with("secret") { ContentKind::Secret } else { ContentKind::ConfigMap };
        let line = text[..key.start()].matches('\n').count() + 1;
        found.push((kind, name.to_owned(), entry.position.line(u32::try_from(line).unwrap_or(1))));
    }
    found
}

/// The same lines without comments.
fn without_comments(text: &str) -> String {
    let plain = |line: &str| {
        let is_comment = line.trim_start().starts_with('#');
        if is_comment { String::new() } else { line.split(" #").next().unwrap_or_default().to_owned() }
    };
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// The value of the key that begins at `key`: the braces after it, or the lines with deeper indentation.
fn block(text: &str, key: usize, value: usize) -> &str {
    let rest = &text[value..];
    if rest.starts_with('{') && !rest.starts_with("{{") {
        let end = rest.find('}').unwrap_or(rest.len());
        return &rest[..end];
    }
    let indent = key - text[..key].rfind('\n').map_or(0, |end| end + 1);
    let mut end = rest.find('\n').unwrap_or(rest.len());
    for line in rest[end..].split('\n').skip(1) {
        let is_action = line.trim_start().starts_with("{{");
        let is_deeper = line.len() - line.trim_start().len() > indent;
        if !line.trim().is_empty() && !is_action && !is_deeper {
            break;
        }
        end = (end + 1 + line.len()).min(rest.len());
    }
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::TextPosition;
    use std::path::Path;

    fn found(text: &str) -> Vec<String> {
        let position = TextPosition { first: Position::of_folder(Path::new("c")).at(10), is_block: true };
        let entry = Entry { key: "job.yaml".into(), text: text.into(), template: None, position };
        named(&entry)
            .into_iter()
            .map(|(kind, name, position)| format!("{kind} {name} at {}", position.line))
            .collect()
    }

    #[test]
    fn every_way_to_name_a_secret_or_config_map_is_seen() {
        let text = "containers:\n- name: main\n  envFrom:\n  - secretRef:\n      name: all # the usual\n  - configMapRef: {name: \"rates\"}\n  env:\n  - name: A\n    valueFrom:\n      secretKeyRef:\n        key: k\n        name: 'one'\n  - {name: B, valueFrom: {configMapKeyRef: {key: k, name: two}}}\nvolumes:\n- name: v\n  secret:\n    secretName: files\n- {name: w, configMap: {name: more}}\n";
        assert_eq!(
            found(text),
            [
                "Secret all at 13",
                "ConfigMap rates at 15",
                "Secret one at 19",
                "ConfigMap two at 22",
                "Secret files at 25",
                "ConfigMap more at 27"
            ]
        );
        assert_eq!(found(r#"{"envFrom": [{"secretRef": {"name": "json"}}]}"#), ["Secret json at 10"]);
    }

    #[test]
    fn what_is_optional_commented_out_or_up_to_the_event_is_no_need() {
        for text in [
            "- secretRef:\n    name: x\n    optional: true\n",
            "- secretRef: {optional: true, name: x}\n",
            "# - secretRef: {name: x}\n",
            "- secretRef:\n    name: {{ .CloudEvent.data.x }}\n",
            "- secretRef: {name: \"{{ .CloudEvent.data.x }}\"}\n",
            "- secretRef:\n- name: x\n",
            "- name: SECRET_NAME\n  value: secretary\n",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
        let text = "- secretRef:\n    {{- if .x }}\n    name: x\n    {{- end }}\n";
        assert_eq!(found(text), ["Secret x at 10"]);
    }
}
