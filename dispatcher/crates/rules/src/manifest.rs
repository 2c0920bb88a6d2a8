//! Reads the users' manifests: a folder becomes one checked, typed, immutable set.
//!
//! Reads `*.yaml`, `*.yml` and `*.json` below a folder as `kubectl apply -R -f` does, and the sample events beside
//! them (`<event>/sample.cloudevent`). Writes nothing. [`load`] refuses a set that contains an error. [`load_part`]
//! leaves out wrong objects, or keeps them as they were in force before. Every problem is reported with file, line
//! and field.

mod config_map;
mod document;
mod file;
mod last_good;
mod object;
mod pattern;
mod problem;
mod re2;
mod reference;
mod sample;
mod selector;
mod source;
mod subjects;
mod text;
mod trigger;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

pub use config_map::{ConfigMap, ContentKind, Entry};
pub use last_good::{LeftOut, Unmet};
pub(crate) use object::read_closely;
pub use pattern::Pattern;
pub use problem::{Position, Problem, Severity, TextPosition};
pub use sample::Sample;
pub use selector::Selector;
pub use source::{Criterion, EventSource};
pub use subjects::Subjects;
pub use text::TemplatedText;
pub use trigger::{EventTrigger, PolicyRef, SyncMode};

use document::Document;
use file::File;

/// A set of manifests without an error in it.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    /// What counts as an event, for which trigger.
    pub sources: Vec<EventSource>,
    /// Which event starts which Jobs.
    pub triggers: Vec<EventTrigger>,
    /// The texts that triggers refer to: ConfigMaps, and Secrets of the type Sveltos reads.
    pub config_maps: Vec<ConfigMap>,
    /// Sample events for `validate`; `run` does not use them.
    pub samples: Vec<Sample>,
    /// Warnings, which do not prevent the set from taking force.
    pub warnings: Vec<Problem>,
    /// The problems of objects that are left out, or that stay in force as they were before.
    pub faults: Vec<Problem>,
    /// The objects that are left out.
    pub left_out: Vec<LeftOut>,
    /// The files that the set was read from.
    documents: Arc<[Document]>,
    /// A hash over the manifests' names and bytes: sets with the same version are equal.
    pub version: String,
}

impl Manifests {
    /// Looks up the text that a trigger refers to.
    pub fn config_map(&self, kind: ContentKind, namespace: &str, name: &str) -> Option<&ConfigMap> {
        self.config_maps.iter().find(|map| map.kind == kind && map.namespace == namespace && map.name == name)
    }
}

/// Reads the set below `dir`; the error holds every problem that was found, including warnings.
pub fn load(dir: &Path) -> Result<Manifests, Vec<Problem>> {
    let files = file::read(dir).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let samples = sample::read(dir, &mut problems);
    let documents: Vec<_> = files.iter().flat_map(|file| document::parse(file, &mut problems)).collect();
    if files.is_empty() {
        problems.push(nothing(dir));
    }
    let (mut set, more, _) = assemble(&files, &documents, &samples);
    problems.extend(more);
    if refuses(&problems) {
        return Err(problems);
    }
    set.warnings = problems;
    set.documents = documents.into();
    Ok(set)
}

/// Reads the part of the set below `dir` that can take force while `before` is in force. It refuses a set without any
/// trigger, unless it has triggers whose events can wait for them. `unmet` reports what a set needs and nobody
/// provides.
pub fn load_part(dir: &Path, before: Option<&Manifests>, unmet: &Unmet) -> Result<Manifests, Vec<Problem>> {
    let files = file::read(dir).map_err(|problem| vec![problem])?;
    let mut ignored = Vec::new();
    let samples = sample::read(dir, &mut ignored);
    let set = last_good::read(&files, &samples, before, Vec::new(), unmet)?;
    let had_triggers = before.is_some_and(|before| !before.triggers.is_empty());
    let waits = set.left_out.iter().any(|one| !one.sources.is_empty());
    if set.triggers.is_empty() && (had_triggers || !waits) {
        return Err(set.faults.into_iter().chain([nothing(dir)]).collect());
    }
    Ok(set)
}

/// Does the same for objects of a cluster. Problems name them by their key, such as
/// `EventTrigger/user-saved-trigger`. `known` are problems with them that were found elsewhere. If there was no
/// trigger before, none is required.
pub fn from_objects(
    objects: &BTreeMap<String, Value>,
    before: Option<&Manifests>,
    known: Vec<Problem>,
    unmet: &Unmet,
) -> Result<Manifests, Vec<Problem>> {
    let set = last_good::read(&file::of_objects(objects), &[], before, known, unmet)?;
    if set.triggers.is_empty() && before.is_some_and(|before| !before.triggers.is_empty()) {
        return Err(set.faults.into_iter().chain([nothing(Path::new("the cluster"))]).collect());
    }
    Ok(set)
}

fn nothing(folder: &Path) -> Problem {
    Problem::error(&Position::of_folder(folder), "", "there is no EventTrigger here")
}

/// The version that [`from_objects`] would give these objects, without parsing their meaning.
pub fn version_of_objects(objects: &BTreeMap<String, Value>) -> String {
    file::version(&file::of_objects(objects))
}

/// The set of these documents, its problems, and whether all problems are about references.
fn assemble<'a>(
    files: &[File],
    documents: impl IntoIterator<Item = &'a Document>,
    samples: &[Sample],
) -> (Manifests, Vec<Problem>, bool) {
    let mut set =
        Manifests { samples: samples.to_vec(), version: file::version(files), ..Manifests::default() };
    let mut problems = Vec::new();
    for document in documents {
        set.add(document, &mut problems);
    }
    // References to objects that could not be read would only repeat that problem.
    let whole = !refuses(&problems);
    if whole {
        reference::check(&set, &mut problems);
    }
    (set, problems, whole)
}

/// How many objects there are, with or without errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// EventSources.
    pub sources: usize,
    /// EventTriggers.
    pub triggers: usize,
    /// ConfigMaps, and Secrets of the type that Sveltos reads.
    pub texts: usize,
    /// Sample events.
    pub samples: usize,
}

/// Counts the objects below `dir`. In a file that is not valid YAML, it counts the lines that name a kind.
pub fn found(dir: &Path) -> Found {
    let mut ignored = Vec::new();
    let mut found = Found { samples: sample::read(dir, &mut ignored).len(), ..Found::default() };
    for file in file::read(dir).unwrap_or_default() {
        let documents = document::parse(&file, &mut ignored);
        if documents.is_empty() {
            let text = file.text.unwrap_or_default();
            let kinds = text.lines().filter_map(|line| line.strip_prefix("kind:"));
            kinds.for_each(|kind| found.add(kind.trim_matches([' ', '\t', '"', '\''])));
        }
        for document in documents {
            match (document.text("apiVersion"), document.text("kind")) {
                (Some(version), Some(kind @ ("EventSource" | "EventTrigger")))
                    if object::is_of_sveltos(version) =>
                {
                    found.add(kind);
                }
                (Some("v1"), Some(kind @ "ConfigMap")) => found.add(kind),
                (Some("v1"), Some("Secret")) if ConfigMap::is_secret_of_sveltos(&document) => {
                    found.add("ConfigMap");
                }
                _ => {}
            }
        }
    }
    found
}

impl Found {
    fn add(&mut self, kind: &str) {
        match kind {
            "EventSource" => self.sources += 1,
            "EventTrigger" => self.triggers += 1,
            "ConfigMap" => self.texts += 1,
            _ => {}
        }
    }
}

fn refuses(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// The version that [`load`] would give the folder as it is now, without parsing its meaning.
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
            (None, None) => {
                let message = "is no Kubernetes object (no apiVersion, no kind): ignored";
                problems.push(document.warning("", message));
            }
            (None, _) => problems.push(document.error("", "apiVersion is not set")),
            (_, None) => problems.push(document.error("", "kind is not set")),
            // A kind counts only in its own group, because other groups have an EventSource too.
            (Some(version), Some(kind @ ("EventSource" | "EventTrigger")))
                if object::is_of_sveltos(version) =>
            {
                problems.push(document.error("apiVersion", object::other_version(version, kind)));
            }
            // A file that is half written may end in the middle of a kind.
            (Some(version), Some(_)) if object::is_of_sveltos(version) && !document.has_name() => {
                problems.push(document.error("metadata.name", "is not set"));
            }
            (Some(version), Some(kind)) => {
                problems.push(
                    document.warning("kind", format!("{version} {kind} is not for the dispatcher: ignored")),
                );
            }
        }
    }
}
