//! Expressions that `run` accepts and nobody wants: patterns that never match, and names that lead nowhere on this
//! cluster.

use crate::manifest::{Manifests, Problem};
use crate::plan::{Cluster, nowhere};

pub(super) fn check(set: &Manifests, cluster: &Cluster, problems: &mut Vec<Problem>) {
    for warning in &set.warnings {
        if warning.message.starts_with("not a regular expression") {
            problems.push(Problem { severity: crate::manifest::Severity::Error, ..warning.clone() });
        }
    }
    for trigger in &set.triggers {
        problems.extend(nowhere(set, cluster, trigger));
        if let Some(reason) = trigger.selector.mismatch(&cluster.labels) {
            let message = format!("this trigger never fires here: {reason}");
            problems.push(Problem::warning(&trigger.position, "spec.sourceClusterSelector", message));
        }
    }
}
