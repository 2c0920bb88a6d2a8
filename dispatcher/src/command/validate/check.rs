//! All checks of `validate`, in order. Problems found by one do not stop the others.

use std::path::Path;

use super::{expression, flow, lint, sample};
use crate::manifest::{Found, Problem, Severity, found, load};
use crate::plan::{BackendKind, Cluster, Policy};

/// The result.
#[derive(Debug, Clone)]
pub struct Report {
    /// Problems by file and line; equal ones only once.
    pub problems: Vec<Problem>,
    /// How many objects there are, with or without problems.
    pub counts: Counts,
    /// The set's version, if it could be read.
    pub version: Option<String>,
}

/// How many objects were checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// EventSources.
    pub sources: usize,
    /// EventTriggers.
    pub triggers: usize,
    /// ConfigMaps.
    pub config_maps: usize,
    /// Sample events.
    pub samples: usize,
    /// Jobs that the unchanged samples give.
    pub jobs: usize,
}

impl Report {
    /// How many problems make the set be refused.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    fn new(mut problems: Vec<Problem>, counts: Counts, version: Option<String>) -> Self {
        // An error sorts before a warning with the same position and text, and replaces it.
        let key = |problem: &Problem| {
            (problem.file.clone(), problem.line, problem.field.clone(), problem.message.clone())
        };
        problems.sort_by_key(|problem| (key(problem), problem.severity));
        problems.dedup_by_key(|problem| key(problem));
        Self { problems, counts, version }
    }
}

/// Runs all checks on the set below `dir`. Reads files, and contacts no server.
pub fn check(dir: &Path, cluster: &Cluster, policy: &Policy, backend: Option<BackendKind>) -> Report {
    let set = match load(dir) {
        Ok(set) => set,
        Err(problems) => {
            let Found { sources, triggers, texts, samples } = found(dir);
            let counts = Counts { sources, triggers, config_maps: texts, samples, jobs: 0 };
            return Report::new(problems, counts, None);
        }
    };
    let mut problems = set.warnings.clone();
    expression::check(&set, cluster, &mut problems);
    lint::templates(&set, &mut problems);
    let rendered = sample::check(&set, cluster, policy, &mut problems);
    for job in rendered.iter().flat_map(|rendered| &rendered.jobs) {
        lint::job(&set, job, backend, &mut problems);
    }
    flow::check(&set, cluster, &rendered, &mut problems);
    let counts = Counts {
        sources: set.sources.len(),
        triggers: set.triggers.len(),
        config_maps: set.config_maps.len(),
        samples: set.samples.len(),
        jobs: rendered.iter().map(|rendered| rendered.jobs.len()).sum(),
    };
    Report::new(problems, counts, Some(set.version))
}
