//! The flow: which event starts which Job, and which event that Job publishes. A circle would run until the hop
//! limit.
//!
//! The annotation `knapscen.disco/emits` of a ConfigMap says what its images publish: NATS subjects, each alone or as
//! `subject=type`. The images of the flow are known without it.

mod circle;

use std::collections::BTreeSet;

use super::sample::Rendered;
use crate::flow::{Emission, emissions, may_be_any, starts};
use crate::manifest::{Manifests, Problem};
use crate::onboarding::step;
use crate::plan::Cluster;

/// Reports every circle once, as a path of events, at the trigger that its first event starts. Also reports where a
/// circle cannot be excluded.
pub(super) fn check(set: &Manifests, cluster: &Cluster, rendered: &[Rendered], problems: &mut Vec<Problem>) {
    for trigger in &set.triggers {
        for (index, reference) in trigger.policy_refs.iter().enumerate().filter(|(_, one)| may_be_any(one)) {
            let message =
                "may be any name, so a circle through its Job is not seen: begin or end it with fixed words";
            problems.push(Problem::warning(
                &reference.position,
                format!("spec.policyRefs[{index}].name"),
                message,
            ));
        }
    }
    let announced: Vec<Vec<Emission>> = set
        .triggers
        .iter()
        .map(|trigger| {
            let jobs = rendered.iter().filter(|one| one.trigger == trigger.name).flat_map(|one| &one.jobs);
            emissions(set, cluster, trigger, jobs, step::announces)
        })
        .collect();
    let mut events: Vec<&Emission> = Vec::new();
    for event in announced.iter().flatten() {
        if !events.contains(&event) {
            events.push(event);
        }
    }
    let next: Vec<BTreeSet<usize>> = events
        .iter()
        .map(|event| {
            let started = set
                .triggers
                .iter()
                .zip(&announced)
                .filter(|(trigger, _)| starts(set, cluster, trigger, event));
            let following = started.flat_map(|(_, announced)| announced);
            following.filter_map(|event| events.iter().position(|known| *known == event)).collect()
        })
        .collect();
    let mut told = BTreeSet::new();
    for circle in circle::circles(&next) {
        let Some(&first) = circle.first() else { continue };
        let way: Vec<&str> =
            circle.iter().chain([&first]).map(|event| events[*event].subject.as_str()).collect();
        let message = format!("the flow runs in a circle: {}", way.join(" → "));
        let trigger = set.triggers.iter().find(|trigger| starts(set, cluster, trigger, events[first]));
        // For people, events of one subject with several types are one path.
        if let Some(trigger) = trigger.filter(|_| told.insert(message.clone())) {
            problems.push(Problem::error(&trigger.position, "", message));
        }
    }
}
