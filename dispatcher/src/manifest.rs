//! Reads the users' manifests: a folder becomes one checked, typed, immutable set.
//!
//! Reads `*.yaml`, `*.yml` and `*.json` below a folder as `kubectl apply -R -f` does, and the sample events beside them
//! (`<event>/sample.cloudevent`). Writes nothing. A set with an error is refused as a whole, so that a half-saved folder
//! never takes force; everything found is reported with file, line and field.

mod config_map;
mod document;
mod file;
mod object;
mod pattern;
mod problem;
mod re2;
mod reference;
mod sample;
mod selector;
mod source;
mod text;
mod trigger;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use config_map::{ConfigMap, ContentKind, Entry};
pub(crate) use object::read_closely;
pub use pattern::Pattern;
pub use problem::{Place, Problem, Severity, TextPlace};
pub use sample::Sample;
pub use selector::Selector;
pub use source::{Criterion, EventSource};
pub use text::TemplatedText;
pub use trigger::{EventTrigger, PolicyRef, SyncMode};

use document::Document;
use file::File;

/// A set of manifests without an error in it.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// What counts as an event.
    pub sources: Vec<EventSource>,
    /// Which event makes what.
    pub triggers: Vec<EventTrigger>,
    /// The texts that triggers refer to: ConfigMaps, and Secrets of the type Sveltos reads.
    pub config_maps: Vec<ConfigMap>,
    /// Sample events, for `validate`; they play no part in running.
    pub samples: Vec<Sample>,
    /// What is odd but does not keep the set from taking force.
    pub warnings: Vec<Problem>,
    /// A hash over the manifests' names and bytes: equal versions are equal sets.
    pub version: String,
}

impl Manifests {
    /// Looks up the text that a trigger refers to.
    pub fn config_map(&self, kind: ContentKind, namespace: &str, name: &str) -> Option<&ConfigMap> {
        self.config_maps.iter().find(|map| map.kind == kind && map.namespace == namespace && map.name == name)
    }
}

/// Reads the set below `dir`; the error holds every problem found, warnings too.
pub fn load(dir: &Path) -> Result<Manifests, Vec<Problem>> {
    let files = file::read(dir).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let samples = sample::read(dir, &mut problems);
    if files.is_empty() {
        problems.push(Problem::warning(&Place::of_folder(dir), "", "no manifests here"));
    }
    assemble(&files, samples, problems)
}

/// Reads the set from objects of a cluster, each under the name that problems give it, such as `EventTrigger/user-saved-trigger`.
pub fn from_objects(objects: &BTreeMap<String, Value>) -> Result<Manifests, Vec<Problem>> {
    assemble(&file::of_objects(objects), Vec::new(), Vec::new())
}

/// The version that [`from_objects`] would give these objects, without reading any meaning into them.
pub fn version_of_objects(objects: &BTreeMap<String, Value>) -> String {
    file::version(&file::of_objects(objects))
}

fn assemble(
    files: &[File],
    samples: Vec<Sample>,
    mut problems: Vec<Problem>,
) -> Result<Manifests, Vec<Problem>> {
    let mut set = Manifests {
        sources: Vec::new(),
        triggers: Vec::new(),
        config_maps: Vec::new(),
        samples,
        warnings: Vec::new(),
        version: file::version(files),
    };
    for file in files {
        for document in document::parse(file, &mut problems) {
            set.add(&document, &mut problems);
        }
    }
    // What could not be read is missing: references to it would only repeat that.
    if !refuses(&problems) {
        reference::check(&set, &mut problems);
    }
    if refuses(&problems) {
        return Err(problems);
    }
    set.warnings = problems;
    Ok(set)
}

fn refuses(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// The version that [`load`] would give the folder's content as it is now, without reading any meaning into it.
pub fn version(dir: &Path) -> Result<String, Problem> {
    Ok(file::version(&file::read(dir)?))
}

impl Manifests {
    fn add(&mut self, document: &Document, problems: &mut Vec<Problem>) {
        match (document.text("apiVersion"), document.text("kind")) {
            (Some(object::SVELTOS), Some("EventSource")) => {
                self.sources.extend(EventSource::read(document, problems));
            }
            (Some(object::SVELTOS), Some("EventTrigger")) => {
                self.triggers.extend(EventTrigger::read(document, problems));
            }
            (Some("v1"), Some("ConfigMap")) => self.config_maps.extend(ConfigMap::read(document, problems)),
            (Some("v1"), Some("Secret")) => {
                self.config_maps.extend(ConfigMap::read_secret(document, problems));
            }
            (None, _) => problems.push(document.error("", "apiVersion is not set")),
            (_, None) => problems.push(document.error("", "kind is not set")),
            (Some(version), Some(kind @ ("EventSource" | "EventTrigger"))) => {
                let message = format!("{version} of {kind} is not known, only {}", object::SVELTOS);
                problems.push(document.error("apiVersion", message));
            }
            (Some(version), Some(kind)) => {
                problems.push(
                    document.warning("kind", format!("{version} {kind} is not for the dispatcher: ignored")),
                );
            }
        }
    }
}
