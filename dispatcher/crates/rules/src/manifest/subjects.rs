//! The NATS subjects that the manifests name, and what they say about them.

use std::collections::BTreeSet;

use super::{ConfigMap, Manifests};

/// The subjects of one set, or of several.
#[derive(Debug, Clone, Default)]
pub struct Subjects {
    /// Subjects named in full, on which no event may be lost.
    pub named: BTreeSet<String>,
    /// Those of them that the bus must keep.
    pub kept: BTreeSet<String>,
    /// Subjects whose events start no Job, from an annotation.
    pub ends: BTreeSet<String>,
}

impl Subjects {
    /// The subjects of a set. `announced`: where a text's images publish, as far as that is known.
    pub fn of(set: &Manifests, announced: impl Fn(&ConfigMap) -> Vec<String>) -> Self {
        let mut subjects = Self::default();
        for pattern in set.sources.iter().flat_map(|source| &source.criteria).map(|one| &one.subject) {
            subjects.named.extend(pattern.names());
            subjects.kept.extend(pattern.literal());
        }
        for map in &set.config_maps {
            subjects.kept.extend(announced(map));
            subjects.kept.extend(map.ends.iter().cloned());
            subjects.ends.extend(map.ends.iter().cloned());
        }
        subjects.named.extend(subjects.kept.iter().cloned());
        subjects
    }
}
