//! Whether two events of one identity may give different Jobs. Most triggers make one Job of a fixed name: for those nothing has
//! to be looked for that is not rendered any more.

use crate::manifest::{EventTrigger, Manifests};

use super::{Cluster, Identity, PlannedJob};

/// Actions by which the number of Jobs may depend on the event.
const BRANCHES: [&str; 5] = ["if", "with", "range", "template", "block"];

/// True unless the Jobs are surely the same ones, by name, for every event of this identity.
pub(super) fn is_possible(
    trigger: &EventTrigger,
    manifests: &Manifests,
    cluster: &Cluster,
    identity: &Identity,
    jobs: &[PlannedJob],
) -> bool {
    let mut texts = Vec::new();
    for reference in &trigger.policy_refs {
        let (Some(name), Some(namespace)) = (reference.name.literal(), reference.namespace.literal()) else {
            return true;
        };
        let namespace = if namespace.is_empty() { &cluster.namespace } else { namespace };
        let map = manifests.config_map(reference.kind, namespace, name);
        texts.extend(map.into_iter().flat_map(|map| &map.entries).map(|entry| entry.text.as_str()));
    }
    let named = |job: &PlannedJob| is_made_of(&job.name, &identity.subject, &texts);
    texts.iter().any(|text| branches(text)) || !jobs.iter().all(named)
}

fn branches(text: &str) -> bool {
    let actions = text.split("{{").skip(1).map(|action| action.trim_start_matches('-').trim_start());
    let word =
        |action: &str| action.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default().to_owned();
    actions.map(word).any(|word| BRANCHES.contains(&word.as_str()))
}

/// Whether nothing but the subject and what the texts themselves say is in the name.
fn is_made_of(name: &str, subject: &str, texts: &[&str]) -> bool {
    let subject = subject.to_lowercase();
    let parts: Vec<&str> =
        if subject.is_empty() { vec![name] } else { name.split(subject.as_str()).collect() };
    parts.iter().all(|part| texts.iter().any(|text| text.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_seen_wherever_white_space_is_trimmed() {
        for text in ["{{ if .x }}", "{{- range .x }}", "a: {{-with .x}}", "{{template \"t\"}}"] {
            assert!(branches(text), "{text}");
        }
        for text in ["{{ .if }}", "{{ ifs }}", "if range", "{{ $range := 1 }}", "{{ printf \"if\" }}"] {
            assert!(!branches(text), "{text}");
        }
    }

    #[test]
    fn a_name_of_the_subject_and_the_template_alone_is_always_the_same() {
        let text = "name: {{ printf \"customer-saved-%s\" $subject }}";
        assert!(is_made_of("customer-saved-s-1", "S-1", &[text]));
        assert!(!is_made_of("customer-saved-s-1-gold", "s-1", &[text]));
        assert!(!is_made_of("customer-saved-s-1", "", &[text]));
    }
}
