//! Renders every template with every sample event: unchanged, and with fields removed.

use std::collections::BTreeSet;

use super::{locate, variant};
use crate::manifest::{Manifests, Problem, Sample};
use crate::plan::{Action, Cluster, IncomingEvent, PlanError, PlannedJob, Policy, plan, without_jobs};

/// The Jobs that a sample gives through one trigger.
pub(super) struct Rendered {
    pub(super) trigger: String,
    pub(super) jobs: Vec<PlannedJob>,
}

/// Plans every sample and its variants. Returns the Jobs of the unchanged samples.
pub(super) fn check(
    set: &Manifests,
    cluster: &Cluster,
    policy: &Policy,
    problems: &mut Vec<Problem>,
) -> Vec<Rendered> {
    problems.extend(without_jobs(set, cluster));
    let mut rendered = Vec::new();
    let mut reached = BTreeSet::new();
    for sample in &set.samples {
        let event = match IncomingEvent::parse(&sample.subject, &[], &sample.payload) {
            Ok(event) => event,
            Err(error) => {
                problems.push(Problem::error(&sample.position, "", error.message));
                continue;
            }
        };
        if !set.sources.iter().any(|source| source.matches(&event)) {
            let message = format!("no EventSource matches this sample on NATS subject {}", sample.subject);
            problems.push(Problem::error(&sample.position, "", message));
            continue;
        }
        let mut whole = true;
        for plan in plan(&event, set, cluster, policy) {
            reached.insert(plan.trigger.clone());
            match plan.outcome {
                Ok(Action::Create { jobs, .. }) => rendered.push(Rendered { trigger: plan.trigger, jobs }),
                Ok(Action::Delete { .. } | Action::Skip(_)) => {}
                Err(error) => {
                    whole = false;
                    problems.push(problem(set, sample, &error, "", true));
                }
            }
        }
        if whole {
            variants(set, sample, cluster, policy, problems);
        }
    }
    for trigger in set.triggers.iter().filter(|trigger| !reached.contains(&trigger.name)) {
        let message = "no sample event reaches this trigger, so its templates were not rendered";
        problems.push(Problem::warning(&trigger.position, "", message));
    }
    rendered
}

fn variants(
    set: &Manifests,
    sample: &Sample,
    cluster: &Cluster,
    policy: &Policy,
    problems: &mut Vec<Problem>,
) {
    let mut seen = BTreeSet::new();
    for variant in variant::variants(&sample.payload) {
        let Ok(event) = IncomingEvent::parse(&sample.subject, &[], &variant.payload) else { continue };
        for plan in plan(&event, set, cluster, policy) {
            let Err(error) = plan.outcome else { continue };
            // The same failure again is no news.
            if seen.insert((plan.trigger, error.to_string())) {
                problems.push(problem(set, sample, &error, &variant.what, variant.must_work));
            }
        }
    }
}

fn problem(set: &Manifests, sample: &Sample, error: &PlanError, variant: &str, must_work: bool) -> Problem {
    let position = locate::error(set, error).unwrap_or_else(|| sample.position.clone());
    let of = if variant.is_empty() { String::new() } else { format!(" {variant}") };
    let message = format!("{} (with the sample {}{of})", error.message, sample.subject);
    if must_work {
        Problem::error(&position, error.field.clone(), message)
    } else {
        Problem::warning(&position, error.field.clone(), message)
    }
}
