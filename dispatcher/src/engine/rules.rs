//! The manifests in force: read at the start, read again when the folder's content changes, replaced whole or not at all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::stop::Stop;
use crate::manifest::{self, Manifests, Problem, Severity};

/// How often the folder is looked at. By content: modification times lie on mounted ConfigMaps.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many sets that were in force before are remembered: for what their Jobs were called.
const MOST_EARLIER: usize = 4;

/// The current set, and what became of the newest. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rules {
    set: Arc<watch::Sender<Arc<Manifests>>>,
    /// Newest first.
    earlier: Arc<Mutex<Vec<Arc<Manifests>>>>,
    state: Arc<Mutex<State>>,
}

/// What became of the newest set of the folder.
#[derive(Clone, Debug)]
pub struct State {
    /// Why it was refused; the set before it stays in force. `None`: it is in force.
    pub refused: Option<String>,
    /// When the set in force was read.
    pub loaded_at: DateTime<Utc>,
}

impl Rules {
    /// These manifests, from now on.
    pub fn new(manifests: Manifests) -> Self {
        let state = State { refused: None, loaded_at: Utc::now() };
        Self {
            set: Arc::new(watch::Sender::new(Arc::new(manifests))),
            earlier: Arc::default(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The set in force.
    pub fn current(&self) -> Arc<Manifests> {
        Arc::clone(&self.set.borrow())
    }

    /// The set in force, and those that were before it, without what equals it.
    pub fn sets(&self) -> (Arc<Manifests>, Vec<Arc<Manifests>>) {
        let earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        (self.current(), earlier.clone())
    }

    /// What became of the newest set.
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns after the next set took force.
    pub async fn changed(&self) {
        // The sender is ours: it cannot be gone.
        drop(self.set.subscribe().changed().await);
    }

    /// The subjects that the manifests name and those of our own flow.
    pub fn subjects(&self) -> BTreeSet<String> {
        let flow = shared::event::Kind::ALL.iter().map(|kind| kind.subject().to_owned());
        let set = self.current();
        let named =
            set.sources.iter().flat_map(|source| &source.criteria).filter_map(|one| one.subject.literal());
        flow.chain(named).collect()
    }

    /// Looks at the folder until told to stop.
    pub async fn follow(&self, folder: &Path, stop: &Stop) {
        let mut seen = self.current().version.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.draining() => return,
            }
            let (path, before) = (folder.to_owned(), seen.clone());
            let Ok(look) = tokio::task::spawn_blocking(move || look(&path, &before)).await else { continue };
            match look {
                Look::Same => {}
                Look::New(version, loaded) => {
                    seen = version;
                    self.take(&folder.display().to_string(), loaded);
                }
            }
        }
    }

    /// Takes over what was read, whole or not at all.
    pub fn take(&self, from: &str, loaded: Result<Manifests, Vec<Problem>>) {
        match loaded {
            Ok(manifests) => self.accept(manifests),
            Err(problems) => self.refuse(from, &problems),
        }
    }

    fn accept(&self, manifests: Manifests) {
        tracing::info!(
            manifests.version = manifests.version,
            triggers = manifests.triggers.len(),
            "manifests changed and in force"
        );
        self.note(None);
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        let version = manifests.version.clone();
        earlier.insert(0, self.set.send_replace(Arc::new(manifests)));
        earlier.retain(|set| set.version != version);
        earlier.truncate(MOST_EARLIER);
    }

    fn refuse(&self, from: &str, problems: &[Problem]) {
        let refused = summary(problems);
        tracing::error!(from, problem = refused, "manifests changed and refused; those before stay in force");
        self.note(Some(refused));
    }

    fn note(&self, refused: Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_none() {
            state.loaded_at = Utc::now();
        }
        state.refused = refused;
    }
}

/// The first error and how many more there are.
pub fn summary(problems: &[Problem]) -> String {
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    match errors.as_slice() {
        [] => "refused".to_owned(),
        [only] => only.to_string(),
        [first, more @ ..] => format!("{first} (and {} more)", more.len()),
    }
}

enum Look {
    Same,
    New(String, Result<Manifests, Vec<Problem>>),
}

fn look(folder: &Path, seen: &str) -> Look {
    match manifest::version(folder) {
        Ok(version) if version == seen => Look::Same,
        Ok(version) => Look::New(version, manifest::load(folder)),
        // Unreadable: refused once, until it is another error or a set.
        Err(problem) => {
            let version = problem.to_string();
            if version == seen { Look::Same } else { Look::New(version, Err(vec![problem])) }
        }
    }
}

/// Reads the set at the start, where a bad one is refused with everything that is wrong.
pub async fn load(folder: PathBuf) -> Result<Rules, Vec<Problem>> {
    let loaded = tokio::task::spawn_blocking(move || manifest::load(&folder)).await;
    loaded.unwrap_or_else(|_| Err(Vec::new())).map(Rules::new)
}
