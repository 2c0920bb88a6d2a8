//! All checks of `validate`, in order; what one finds does not keep the others from looking.

use std::path::Path;

use super::{expression, flow, lint, sample};
use crate::manifest::{Problem, Severity, load};
use crate::plan::{BackendKind, Cluster, Policy};

/// What was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// By file and line; each place and message once.
    pub problems: Vec<Problem>,
    /// How much was looked at; nothing if the set could not be read.
    pub counts: Counts,
    /// The set's version, if it could be read.
    pub version: Option<String>,
}

/// How much was looked at.
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
    /// Jobs that the samples, as they stand, give.
    pub jobs: usize,
}

impl Report {
    /// How many problems refuse the set.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    fn new(mut problems: Vec<Problem>, counts: Counts, version: Option<String>) -> Self {
        // An error sorts before a warning of the same place and text, and stands for both.
        let key = |problem: &Problem| {
            (problem.file.clone(), problem.line, problem.field.clone(), problem.message.clone())
        };
        problems.sort_by_key(|problem| (key(problem), problem.severity));
        problems.dedup_by_key(|problem| key(problem));
        Self { problems, counts, version }
    }
}

/// Looks at the set below `dir` from every side. Reads files, asks no server.
pub fn check(dir: &Path, cluster: &Cluster, policy: &Policy, backend: Option<BackendKind>) -> Report {
    let set = match load(dir) {
        Ok(set) => set,
        Err(problems) => return Report::new(problems, Counts::default(), None),
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
