//! Detects a change that breaks working triggers: half a text can be valid YAML, and only an event shows what is
//! missing.

use super::stale_jobs::{named, same_texts};
use super::{Action, Cluster, IncomingEvent, PlanError, Policy, decide, identity_of, matching};
use crate::manifest::{EventTrigger, Manifests, Problem};

/// Reports each trigger that made Jobs of a sample event in `before`, and cannot in `now`. It plans only triggers that changed.
pub fn spoilt(before: &Manifests, now: &Manifests, cluster: &Cluster) -> Vec<Problem> {
    let changed = changed(before, now, cluster);
    if changed.is_empty() {
        return Vec::new();
    }
    let policy = Policy::default();
    let plan = |event: &IncomingEvent, trigger: &EventTrigger, set: &Manifests| {
        decide(event, trigger, set, cluster, &policy, &identity_of(trigger, event))
    };
    let mut problems = Vec::new();
    for sample in &now.samples {
        let Ok(event) = IncomingEvent::parse(&sample.subject, &[], &sample.payload) else { continue };
        for trigger in matching::triggers(&event, now, cluster) {
            let was = changed.iter().find(|(_, one)| one.name == trigger.name).map(|(was, _)| *was);
            let Some(was) = was else { continue };
            let now_made = plan(&event, trigger, now);
            if !makes_none(&now_made) {
                continue;
            }
            let matched = matching::triggers(&event, before, cluster).any(|one| one.name == was.name);
            if matched && !makes_none(&plan(&event, was, before)) {
                let why =
                    now_made.err().map_or_else(|| "now it makes none".to_owned(), |error| error.to_string());
                let message =
                    format!("the sample event {} made Jobs before this change: {why}", sample.subject);
                problems.push(Problem::error(&trigger.position, "spec.policyRefs", message));
            }
        }
    }
    problems
}

/// Reports each trigger that renders nothing for a sample event: its file may end before the Job.
pub fn without_jobs(set: &Manifests, cluster: &Cluster) -> Vec<Problem> {
    let policy = Policy::default();
    let mut problems = Vec::new();
    for sample in &set.samples {
        let Ok(event) = IncomingEvent::parse(&sample.subject, &[], &sample.payload) else { continue };
        for trigger in matching::triggers(&event, set, cluster) {
            let made = decide(&event, trigger, set, cluster, &policy, &identity_of(trigger, &event));
            if made.is_ok() && makes_none(&made) {
                let message = format!("makes no Job of the sample event {}", sample.subject);
                problems.push(Problem::error(&trigger.position, "spec.policyRefs", message));
            }
        }
    }
    problems
}

fn makes_none(made: &Result<Action, PlanError>) -> bool {
    match made {
        Ok(Action::Create { jobs, .. }) => jobs.is_empty(),
        Ok(Action::Delete { .. } | Action::Skip(_)) => false,
        Err(_) => true,
    }
}

/// The triggers that may render something else than in `before`, each as it was and as it is.
fn changed<'a>(
    before: &'a Manifests,
    now: &'a Manifests,
    cluster: &Cluster,
) -> Vec<(&'a EventTrigger, &'a EventTrigger)> {
    let pairs = now.triggers.iter().filter_map(|trigger| Some((named(&trigger.name, before)?, trigger)));
    pairs.filter(|(was, is)| !same_texts(was, before, is, now, cluster)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::load;

    #[test]
    fn only_a_trigger_that_renders_another_text_is_planned() {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../events"));
        let (before, cluster) = (load(shipped).unwrap(), Cluster::default());
        let names = |now: &Manifests| -> Vec<String> {
            changed(&before, now, &cluster).iter().map(|(_, one)| one.name.clone()).collect()
        };
        assert!(names(&before).is_empty() && before.triggers.len() > 5);
        let mut now = before.clone();
        let map = now.config_maps.iter_mut().find(|map| map.name.contains("user-saved")).unwrap();
        let entry = &mut map.entries[0];
        entry.text.push_str("# more\n");
        let name = names(&now);
        assert!(name.len() == 1 && name[0].contains("user-saved"), "{name:?}");
        let mut now = before.clone();
        now.config_maps.iter_mut().for_each(|map| map.printed_yaml = true);
        assert_eq!(names(&now).len(), before.triggers.len());
    }
}
