//! Whether two events of one identity may give different Jobs. Most triggers make one Job of a fixed name: for those nothing has
//! to be looked for that is not rendered any more.

use crate::manifest::{Entry, EventTrigger, Manifests};

use super::{Action, Cluster, Identity, IncomingEvent, PlannedJob, Policy, TriggerPlan, decide};

/// True unless the Jobs are surely the same ones, by name, for every event of this identity.
pub(super) fn is_possible(
    trigger: &EventTrigger,
    manifests: &Manifests,
    cluster: &Cluster,
    identity: &Identity,
    jobs: &[PlannedJob],
) -> bool {
    let Some(entries) = entries(trigger, manifests, cluster) else { return true };
    let branches =
        entries.iter().any(|entry| entry.template.as_ref().is_some_and(|template| template.branches()));
    let texts: Vec<&str> = entries.iter().map(|entry| entry.text.as_str()).collect();
    let named = |job: &PlannedJob| is_made_of(&job.name, &identity.subject, &texts);
    branches || !jobs.iter().all(named)
}

/// Whether this event would have given other Jobs, by name, under manifests that were in force before.
pub fn was_other(
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
        Ok(Action::Create { jobs: made, varies, .. }) => {
            let is_now = |one: &PlannedJob| {
                jobs.iter().any(|job| (&job.namespace, &job.name) == (&one.namespace, &one.name))
            };
            varies || !made.iter().all(is_now)
        }
        // Of another event it may have made something.
        Ok(Action::Delete { .. } | Action::Skip(_)) | Err(_) => true,
    }
}

fn named<'a>(name: &str, set: &'a Manifests) -> Option<&'a EventTrigger> {
    set.triggers.iter().find(|trigger| trigger.name == name)
}

/// Whether a trigger renders the same in two sets, whatever the event.
fn same_texts(
    one: &EventTrigger,
    ones: &Manifests,
    other: &EventTrigger,
    others: &Manifests,
    cluster: &Cluster,
) -> bool {
    let (Some(left), Some(right)) = (entries(one, ones, cluster), entries(other, others, cluster)) else {
        return false;
    };
    let same = |(left, right): (&&Entry, &&Entry)| {
        left.text == right.text && left.template.is_some() == right.template.is_some()
    };
    one.action.source() == other.action.source()
        && left.len() == right.len()
        && left.iter().zip(&right).all(same)
}

/// What a trigger renders, where no event decides which texts those are. A text that is not there is none.
fn entries<'a>(trigger: &EventTrigger, set: &'a Manifests, cluster: &Cluster) -> Option<Vec<&'a Entry>> {
    let mut entries = Vec::new();
    for reference in &trigger.policy_refs {
        let (name, namespace) = (reference.name.literal()?, reference.namespace.literal()?);
        let namespace = if namespace.is_empty() { &cluster.namespace } else { namespace };
        entries
            .extend(set.config_map(reference.kind, namespace, name).into_iter().flat_map(|map| &map.entries));
    }
    Some(entries)
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
    fn a_name_of_the_subject_and_the_template_alone_is_always_the_same() {
        let text = "name: {{ printf \"customer-saved-%s\" $subject }}";
        assert!(is_made_of("customer-saved-s-1", "S-1", &[text]));
        assert!(!is_made_of("customer-saved-s-1-gold", "s-1", &[text]));
        assert!(!is_made_of("customer-saved-s-1", "", &[text]));
    }
}
