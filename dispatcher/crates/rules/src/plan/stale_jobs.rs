//! Whether two events of one identity may give different Jobs. Most triggers make one Job with a fixed name: then no
//! earlier Jobs need to be looked for and removed.

use crate::manifest::{ConfigMap, Entry, EventTrigger, Manifests};

use super::{Action, Cluster, Identity, IncomingEvent, PlannedJob, Policy, TriggerPlan, decide};

/// False only if every event of this identity certainly gives Jobs with the same names.
pub(super) fn is_possible(
    trigger: &EventTrigger,
    manifests: &Manifests,
    cluster: &Cluster,
    identity: &Identity,
    jobs: &[PlannedJob],
) -> bool {
    let Some(entries) = entries(trigger, manifests, cluster) else { return true };
    let branches =
        entries.iter().any(|(_, entry)| entry.template.as_ref().is_some_and(|template| template.branches()));
    let texts: Vec<&str> = entries.iter().map(|(_, entry)| entry.text.as_str()).collect();
    let named = |job: &PlannedJob| is_made_of(&job.name, &identity.subject, &texts);
    branches || !jobs.iter().all(named)
}

/// Whether this event would have given Jobs with other names under earlier manifests.
pub(super) fn was_other(
    event: &IncomingEvent,
    plan: &TriggerPlan,
    now: &Manifests,
    earlier: &Manifests,
    cluster: &Cluster,
    policy: &Policy,
) -> bool {
    let Ok(Action::Create { jobs, .. }) = &plan.outcome else { return false };
    let (Some(current), Some(before)) = (named(&plan.trigger, now), named(&plan.trigger, earlier)) else {
        return false;
    };
    if same_texts(current, now, before, earlier, cluster) {
        return false;
    }
    match decide(event, before, earlier, cluster, policy, &plan.identity) {
        Ok(Action::Create { jobs: made, prunes_others, .. }) => {
            let is_now = |one: &PlannedJob| {
                jobs.iter().any(|job| (&job.namespace, &job.name) == (&one.namespace, &one.name))
            };
            prunes_others || !made.iter().all(is_now)
        }
        // Another event may have made a Job with it.
        Ok(Action::Delete { .. } | Action::Skip(_)) | Err(_) => true,
    }
}

/// The trigger of this name.
pub(super) fn named<'a>(name: &str, set: &'a Manifests) -> Option<&'a EventTrigger> {
    set.triggers.iter().find(|trigger| trigger.name == name)
}

/// Whether a trigger renders the same in two sets, for every event.
pub(super) fn same_texts(
    one: &EventTrigger,
    ones: &Manifests,
    other: &EventTrigger,
    others: &Manifests,
    cluster: &Cluster,
) -> bool {
    let (Some(left), Some(right)) = (entries(one, ones, cluster), entries(other, others, cluster)) else {
        return false;
    };
    let same = |((map, left), (other_map, right)): (&(&ConfigMap, &Entry), &(&ConfigMap, &Entry))| {
        left.text == right.text
            && left.template.is_some() == right.template.is_some()
            && map.printed_yaml == other_map.printed_yaml
    };
    one.action.source() == other.action.source()
        && left.len() == right.len()
        && left.iter().zip(&right).all(same)
}

/// The texts that a trigger renders, each with its object; `None` if an event decides which texts these are. A missing text is left
/// out.
fn entries<'a>(
    trigger: &EventTrigger,
    set: &'a Manifests,
    cluster: &Cluster,
) -> Option<Vec<(&'a ConfigMap, &'a Entry)>> {
    let mut entries = Vec::new();
    for reference in &trigger.policy_refs {
        let (name, namespace) = (reference.name.literal()?, reference.namespace.literal()?);
        let namespace = if namespace.is_empty() { &cluster.namespace } else { namespace };
        let maps = set.config_map(reference.kind, namespace, name).into_iter();
        entries.extend(maps.flat_map(|map| map.entries.iter().map(move |entry| (map, entry))));
    }
    Some(entries)
}

/// Whether the name consists only of the subject and of parts of the texts.
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
    fn a_name_of_the_subject_and_the_template_alone_is_always_the_same() {
        let text = "name: {{ printf \"item-saved-%s\" $subject }}";
        assert!(is_made_of("item-saved-s-1", "S-1", &[text]));
        assert!(!is_made_of("item-saved-s-1-gold", "s-1", &[text]));
        assert!(!is_made_of("item-saved-s-1", "", &[text]));
    }
}
