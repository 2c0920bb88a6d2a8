//! The manifests in force: read at the start, and again when their origin changes.
//!
//! A set that lacks a trigger of the set in force may be a half-finished copy. It takes force only after it was
//! unchanged for some time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, MutexGuard};
use shared::config::shown;
use tokio::sync::watch;

use crate::flow;
use crate::manifest::{self, ConfigMap, Manifests, Problem, Severity, Subjects};
use crate::onboarding::step;
use crate::plan::{Cluster, Needs, spoilt, without_jobs};
use job::stop::Stop;

/// How often the folder is read. Modification times of mounted ConfigMaps are unreliable, so contents are compared.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many earlier sets are remembered, to find Jobs that they have named differently.
const MOST_EARLIER: usize = 4;

/// The default time that a set with fewer triggers must be unchanged.
pub const REMOVAL_AFTER: Duration = Duration::from_secs(30);

/// The set in force, and the result of the newest set. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rules {
    set: Arc<watch::Sender<Arc<Manifests>>>,
    state: Arc<Mutex<Inner>>,
    removal_after: Duration,
    /// If set, triggers of later sets whose needs are not met are left out.
    needs: Option<Arc<Needs>>,
}

#[derive(Debug)]
struct Inner {
    /// Earlier sets, newest first.
    earlier: Vec<Arc<Manifests>>,
    /// The subjects of all sets that were in force since the start; `ends` only of the set in force.
    subjects: Subjects,
    /// A set with fewer triggers, and since when it is the newest.
    waiting: Option<(Instant, Manifests)>,
    state: State,
}

/// The result of the newest set.
#[derive(Clone, Debug)]
pub struct State {
    /// What of it is not in force, and why; `None` if all of it is.
    pub refused: Option<String>,
    /// When the set in force was read.
    pub loaded_at: DateTime<Utc>,
}

/// What the manifests say about the subject of an event that no trigger takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// They name the subject, so a trigger is missing, or the event is wrong.
    Named,
    /// They declare that its events start no Job.
    End,
    /// They match it by a wildcard at most, so it belongs to somebody else.
    Foreign,
}

impl Rules {
    /// Starts with these manifests.
    pub fn new(manifests: Manifests) -> Self {
        let inner = Inner {
            earlier: Vec::new(),
            subjects: subjects(&manifests),
            waiting: None,
            state: State { refused: summary(&manifests.faults), loaded_at: Utc::now() },
        };
        Self {
            set: Arc::new(watch::Sender::new(Arc::new(manifests))),
            state: Arc::new(Mutex::new(inner)),
            removal_after: REMOVAL_AFTER,
            needs: None,
        }
    }

    /// Also checks the needs of triggers.
    #[must_use]
    pub fn needing(self, needs: Arc<Needs>) -> Self {
        Self { needs: Some(needs), ..self }
    }

    /// What triggers need, if that is checked.
    pub fn needs(&self) -> Option<Arc<Needs>> {
        self.needs.clone()
    }

    /// Changes the time that a set with fewer triggers must be unchanged.
    #[must_use]
    pub fn removing_after(self, removal_after: Duration) -> Self {
        Self { removal_after, ..self }
    }

    /// The set in force.
    pub fn current(&self) -> Arc<Manifests> {
        Arc::clone(&self.set.borrow())
    }

    /// The set in force, and the earlier sets that differ from it.
    pub fn sets(&self) -> (Arc<Manifests>, Vec<Arc<Manifests>>) {
        let earlier = self.inner().earlier.clone();
        (self.current(), earlier)
    }

    /// The result of the newest set.
    pub fn state(&self) -> State {
        self.inner().state.clone()
    }

    /// Returns after the next set took force.
    pub async fn changed(&self) {
        // The sender is our own field, so it still exists.
        drop(self.set.subscribe().changed().await);
    }

    /// The subjects that the bus must keep: those that the manifests name, and those on which their Jobs publish.
    pub fn subjects(&self) -> BTreeSet<String> {
        self.inner().subjects.kept.clone()
    }

    /// Whether to take events of this subject of the bus.
    pub fn watches(&self, subject: &str) -> bool {
        let is_plain = !subject.contains(['*', '>']);
        let set = self.current();
        let mut patterns = set.sources.iter().flat_map(|source| &source.criteria).map(|one| &one.subject);
        self.inner().subjects.named.contains(subject)
            || patterns.any(|pattern| pattern.matches(subject) || !is_plain)
    }

    /// What an event on this subject means that no trigger takes.
    pub fn concern(&self, subject: &str) -> Concern {
        let inner = self.inner();
        if inner.subjects.ends.contains(subject) {
            Concern::End
        } else if inner.subjects.named.contains(subject) {
            Concern::Named
        } else {
            Concern::Foreign
        }
    }

    /// Why no event can start a Job; `None` if one can.
    pub fn idle(&self, cluster: &Cluster) -> Option<String> {
        let set = self.current();
        if set.triggers.iter().any(|trigger| trigger.selector.matches(&cluster.labels)) {
            return None;
        }
        let labels: Vec<_> = cluster.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Some(match set.triggers.len() {
            0 => "there is no EventTrigger in force".to_owned(),
            all => format!(
                "none of {all} EventTriggers selects this cluster ({}): see --cluster-label",
                labels.join(",")
            ),
        })
    }

    /// The names of the triggers in force.
    pub fn triggers(&self) -> Vec<String> {
        self.current().triggers.iter().map(|trigger| trigger.name.clone()).collect()
    }

    /// Reads the folder again and again until it is told to stop.
    pub async fn follow(&self, folder: &Path, stop: &Stop) {
        let mut seen = self.current().version.clone();
        let mut before = seen.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.draining() => return,
            }
            let path = folder.to_owned();
            let Ok(version) = tokio::task::spawn_blocking(move || version(&path)).await else { continue };
            // Only content that has not changed since the last look counts, because a copy may be half finished.
            if version != seen && version == before {
                let (path, current, needs) = (folder.to_owned(), self.current(), self.needs());
                let load = move || {
                    let cluster = needs.as_ref().map(|needs| needs.cluster.clone()).unwrap_or_default();
                    manifest::load_part(&path, Some(&current), &|set| {
                        [unmet(needs.as_deref(), set), spoilt(&current, set, &cluster)].concat()
                    })
                };
                if let Ok(loaded) = tokio::task::spawn_blocking(load).await {
                    seen.clone_from(&version);
                    self.take(&shown(folder), loaded);
                }
            }
            before = version;
        }
    }

    /// Puts a set with fewer triggers into force when its time has come, until it is told to stop.
    pub async fn settle(&self, stop: &Stop) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY.min(self.removal_after)) => {}
                () = stop.draining() => return,
            }
            let due = self.inner().waiting.take_if(|(since, _)| since.elapsed() >= self.removal_after);
            if let Some((_, manifests)) = due {
                self.accept(manifests);
            }
        }
    }

    /// Accepts a new set. If it lacks a trigger of the set in force, it waits for its time.
    pub fn take(&self, from: &str, loaded: Result<Manifests, Vec<Problem>>) {
        self.inner().waiting = None;
        let manifests = match loaded {
            Ok(manifests) => manifests,
            Err(problems) => {
                let refused = summary(&problems).unwrap_or_else(|| "they cannot be read".to_owned());
                tracing::error!(
                    from,
                    problem = refused,
                    "manifests changed and refused; those before stay in force"
                );
                self.inner().state.refused = Some(refused);
                return;
            }
        };
        let kept: BTreeSet<_> = manifests.triggers.iter().map(|trigger| &trigger.name).collect();
        let current = self.current();
        let gone = current.triggers.iter().map(|trigger| &trigger.name).filter(|name| !kept.contains(name));
        let gone: Vec<_> = gone.cloned().chain(ends_earlier(&current, &manifests)).collect();
        if gone.is_empty() {
            return self.accept(manifests);
        }
        let waits = format!(
            "without {}: this takes effect after {} s without a change",
            gone.join(", "),
            self.removal_after.as_secs()
        );
        tracing::warn!(from, change = waits, "manifests changed; those before stay in force for now");
        let mut inner = self.inner();
        inner.state.refused = Some(waits);
        inner.waiting = Some((Instant::now(), manifests));
    }

    fn accept(&self, manifests: Manifests) {
        for fault in &manifests.faults {
            tracing::error!(problem = %fault, "left out, or in force as it was before");
        }
        tracing::info!(
            manifests.version = manifests.version,
            triggers = manifests.triggers.len(),
            "manifests changed and in force"
        );
        let mut inner = self.inner();
        let Subjects { named, kept, ends } = subjects(&manifests);
        inner.subjects.named.extend(named);
        inner.subjects.kept.extend(kept);
        inner.subjects.ends = ends;
        inner.state = State { refused: summary(&manifests.faults), loaded_at: Utc::now() };
        let version = manifests.version.clone();
        let before = self.set.send_replace(Arc::new(manifests));
        inner.earlier.insert(0, before);
        inner.earlier.retain(|set| set.version != version);
        inner.earlier.truncate(MOST_EARLIER);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.state.lock()
    }
}

fn subjects(set: &Manifests) -> Subjects {
    let announced = |map: &ConfigMap| flow::announced(map, step::announces).into_iter();
    Subjects::of(set, |map| announced(map).map(|event| event.subject).collect())
}

/// The texts of `now` that end earlier than in `before` and are otherwise the same: a file that is still being written looks so,
/// and its Jobs may lack variables.
fn ends_earlier(before: &Manifests, now: &Manifests) -> Vec<String> {
    let mut found = Vec::new();
    for map in &now.config_maps {
        let is_same =
            |one: &&ConfigMap| (one.kind, &one.namespace, &one.name) == (map.kind, &map.namespace, &map.name);
        let Some(was) = before.config_maps.iter().find(is_same) else { continue };
        let text = |key: &str| {
            map.entries.iter().find(|entry| entry.key == key).map_or("", |entry| entry.text.trim_end())
        };
        for entry in &was.entries {
            let (whole, text) = (entry.text.trim_end(), text(&entry.key));
            if text.len() < whole.len() && whole.starts_with(text) {
                found
                    .push(format!("the end of {} in {} {}/{}", entry.key, map.kind, map.namespace, map.name));
            }
        }
    }
    found
}

/// The first error, and how many more there are.
fn summary(problems: &[Problem]) -> Option<String> {
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    match errors.as_slice() {
        [] => None,
        [only] => Some(only.to_string()),
        [first, more @ ..] => Some(format!("{first} (and {} more)", more.len())),
    }
}

/// The error of a folder that cannot be read. It is reported again only after it has changed.
fn version(folder: &Path) -> String {
    manifest::version(folder).unwrap_or_else(|problem| problem.to_string())
}

/// Reports what triggers of a set need and do not find.
pub(super) fn unmet(needs: Option<&Needs>, set: &Manifests) -> Vec<Problem> {
    needs.map(|needs| needs.unmet(set)).unwrap_or_default()
}

/// Reads the set at the start.
pub async fn load(folder: PathBuf, needs: Needs) -> Result<Rules, Vec<Problem>> {
    let needs = Arc::new(needs);
    let known = Arc::clone(&needs);
    let load = move || {
        manifest::load_part(&folder, None, &|set| {
            [known.unmet(set), without_jobs(set, &known.cluster)].concat()
        })
    };
    let loaded = tokio::task::spawn_blocking(load).await.unwrap_or_else(|_| Err(Vec::new()));
    loaded.map(|set| Rules::new(set).needing(needs))
}
