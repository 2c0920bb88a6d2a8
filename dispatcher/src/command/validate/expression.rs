//! Expressions that run bears but nobody wants: patterns that never match, names that lead nowhere on this cluster.

use crate::manifest::{Manifests, Problem};
use crate::plan::Cluster;

pub(super) fn check(set: &Manifests, cluster: &Cluster, problems: &mut Vec<Problem>) {
    for warning in &set.warnings {
        if warning.message.starts_with("not a regular expression") {
            problems.push(Problem { severity: crate::manifest::Severity::Error, ..warning.clone() });
        }
    }
    for trigger in &set.triggers {
        let mut report = |message: String| {
            problems.push(Problem::error(&trigger.source_place, "spec.eventSourceName", message));
        };
        match cluster.source_name(trigger) {
            Err(error) => report(format!("cannot be rendered over .Cluster alone: {}", error.message)),
            Ok(name) if !set.sources.iter().any(|source| source.name == name) => {
                report(format!(
                    "EventTrigger {} refers to EventSource {name:?}, which is not here",
                    trigger.name
                ));
            }
            Ok(_) => {}
        }
        if let Some(reason) = trigger.selector.mismatch(&cluster.labels) {
            let message = format!("this trigger never fires here: {reason}");
            problems.push(Problem::warning(&trigger.place, "spec.sourceClusterSelector", message));
        }
    }
}
