//! The flow: which trigger's Job announces an event that starts which trigger. A cycle would run until the hop limit.

use std::collections::BTreeMap;

use shared::event::{Kind, SOURCE};

use super::image;
use super::sample::Rendered;
use crate::manifest::{ConfigMap, Criterion, EventTrigger, Manifests, Problem};
use crate::plan::{Cluster, EnvValue, PlannedJob};

/// An event that a Job may publish; of a foreign image only the NATS subject is known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Emission {
    subject: String,
    kind: Option<Kind>,
}

/// Reports every cycle once, as a path of events.
pub(super) fn check(set: &Manifests, cluster: &Cluster, rendered: &[Rendered], problems: &mut Vec<Problem>) {
    let emissions: Vec<Vec<Emission>> =
        set.triggers.iter().map(|trigger| emissions(set, cluster, trigger, rendered)).collect();
    let next: Vec<Vec<(usize, String)>> = emissions
        .iter()
        .map(|all| {
            let targets = all.iter().flat_map(|emission| {
                let triggers = set.triggers.iter().enumerate();
                let started = triggers.filter(|(_, trigger)| starts(set, cluster, trigger, emission));
                started.map(|(index, _)| (index, emission.subject.clone())).collect::<Vec<_>>()
            });
            targets.collect()
        })
        .collect();
    for start in 0..next.len() {
        let mut path = Vec::new();
        if let Some(events) = cycle(start, start, &next, &mut path, &mut vec![false; next.len()]) {
            let trigger = &set.triggers[start];
            // The last event is the one that starts it all again.
            let first = events.last().cloned().unwrap_or_default();
            let message = format!("the flow runs in a circle: {first} → {}", events.join(" → "));
            problems.push(Problem::error(&trigger.place, "", message));
        }
    }
}

/// The events on a way from `at` back to `start` through triggers that come after it: so that each cycle is found once,
/// at its first trigger.
fn cycle(
    start: usize,
    at: usize,
    next: &[Vec<(usize, String)>],
    path: &mut Vec<String>,
    visited: &mut [bool],
) -> Option<Vec<String>> {
    for (target, event) in &next[at] {
        if *target < start || (visited[*target] && *target != start) {
            continue;
        }
        path.push(event.clone());
        if *target == start {
            return Some(path.clone());
        }
        visited[*target] = true;
        if let Some(found) = cycle(start, *target, next, path, visited) {
            return Some(found);
        }
        path.pop();
    }
    None
}

/// Whether the event may start the trigger; what is not known of it may be anything.
fn starts(set: &Manifests, cluster: &Cluster, trigger: &EventTrigger, emission: &Emission) -> bool {
    let Ok(name) = cluster.source_name(trigger) else { return false };
    let may_match = |criterion: &Criterion| {
        criterion.subject.matches(&emission.subject)
            && emission.kind.is_none_or(|kind| {
                criterion.event_type.matches(kind.ty()) && criterion.source.matches(SOURCE)
            })
    };
    trigger.selector.matches(&cluster.labels)
        && set.sources.iter().any(|source| source.name == name && source.criteria.iter().any(may_match))
}

fn emissions(
    set: &Manifests,
    cluster: &Cluster,
    trigger: &EventTrigger,
    rendered: &[Rendered],
) -> Vec<Emission> {
    let mut all: Vec<Emission> = Vec::new();
    let maps = trigger.policy_refs.iter().filter_map(|reference| {
        let namespace = reference.namespace.literal()?;
        let namespace = if namespace.is_empty() { &cluster.namespace } else { namespace };
        set.config_map(reference.kind, namespace, reference.name.literal()?)
    });
    for map in maps {
        all.extend(map.emits.iter().map(|subject| Emission { subject: subject.clone(), kind: None }));
        all.extend(images(map).filter_map(|image| image::announces(&image)).map(of_kind));
    }
    for job in rendered.iter().filter(|one| one.trigger == trigger.name).flat_map(|one| &one.jobs) {
        match redirected(job) {
            Some(subject) => all.push(Emission { kind: image::announces(&job.spec.image), subject }),
            None => all.extend(image::announces(&job.spec.image).map(of_kind)),
        }
    }
    let mut unique: BTreeMap<String, Emission> = BTreeMap::new();
    for emission in all {
        unique.entry(emission.subject.clone()).or_insert(emission);
    }
    unique.into_values().collect()
}

fn of_kind(kind: Kind) -> Emission {
    Emission { subject: kind.subject().to_owned(), kind: Some(kind) }
}

/// Images as the template's text names them: known even if no sample renders it.
fn images(map: &ConfigMap) -> impl Iterator<Item = String> + '_ {
    map.entries.iter().flat_map(|entry| entry.text.lines()).filter_map(|line| {
        let image = line.trim_start().trim_start_matches("- ").strip_prefix("image:")?;
        Some(image.split('#').next()?.trim().trim_matches(['"', '\'']).to_owned())
    })
}

/// `NATS_SUBJECT` overrides where a worker publishes.
fn redirected(job: &PlannedJob) -> Option<String> {
    job.spec.env.iter().find(|variable| variable.name == "NATS_SUBJECT").and_then(|variable| match &variable
        .value
    {
        EnvValue::Literal(subject) if !subject.is_empty() => Some(subject.clone()),
        _ => None,
    })
}
