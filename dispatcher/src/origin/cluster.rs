//! EventSources, EventTriggers and ConfigMaps as the cluster has them, watched.
//!
//! Reads the first two everywhere (they belong to no namespace) and ConfigMaps of the given namespaces. Of triggers only those count
//! that select this cluster, of ConfigMaps only those that such a trigger refers to. Never reads a Secret. Writes the condition
//! `Ready` into the status of EventSources and EventTriggers, where their definitions have one. The Roles that it needs: `list` and
//! `watch` on all three, `get` on the first two, `patch` on their status.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde::Deserialize;
use serde_json::json;
use shared::error::{Error, Result};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::condition::{self, Verdict};
use super::object::{Kind, Place, Wanted, plain, shown};
use super::reading::{self, Objects};
use crate::backend::kubernetes::said;
use crate::engine::rules::Rules;
use crate::engine::stop::Stop;
use crate::manifest::{self, Manifests, Problem, Selector};

/// The first lists must be there after this time.
const START: Duration = Duration::from_secs(30);
/// `kubectl apply` of a folder comes object by object: what comes within this time is one change.
const SETTLE: Duration = Duration::from_millis(500);
/// A list, or the answer to a status that is written, that takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The objects, watched until the last copy is dropped. Cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    watches: Vec<AbortHandle>,
}

struct Shared {
    client: kube::Client,
    /// Of the cluster that the dispatcher stands for: triggers for others are nobody's business here.
    labels: BTreeMap<String, String>,
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Default)]
struct Seen {
    objects: BTreeMap<(Place, String), DynamicObject>,
    /// What is wrong with a watch.
    trouble: BTreeMap<Place, String>,
    /// Kinds whose status cannot be written.
    mute: BTreeSet<Kind>,
    /// What was read last.
    version: String,
    /// What of it is in force, as it is or as it was.
    in_force: Objects,
    /// What is wrong with the rest.
    problems: Vec<Problem>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

impl Cluster {
    /// Begins to watch, and returns when everything has been listed once.
    pub async fn open(
        client: kube::Client,
        labels: BTreeMap<String, String>,
        namespaces: &BTreeSet<String>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared { client, labels, seen: Mutex::default(), changed: Notify::new() });
        let mut places = vec![(Kind::EventSource, String::new()), (Kind::EventTrigger, String::new())];
        places.extend(namespaces.iter().map(|namespace| (Kind::ConfigMap, namespace.clone())));
        for place in &places {
            shared.seen().trouble.insert(place.clone(), "they have not been listed yet".to_owned());
        }
        let watches = places.into_iter().map(|place| {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move { shared.watch(&place).await }).abort_handle()
        });
        let cluster = Self(Arc::new(Inner { watches: watches.collect(), shared }));
        let listed = async {
            while !cluster.seen().trouble.is_empty() {
                cluster.0.shared.changed.notified().await;
            }
        };
        if timeout(START, listed).await.is_err() {
            let trouble = cluster.trouble().unwrap_or_default();
            return Err(Error::unavailable(format!(
                "the manifests cannot be read from the cluster: {trouble}"
            )));
        }
        Ok(cluster)
    }

    pub(super) async fn load(&self) -> std::result::Result<Rules, Vec<Problem>> {
        let loaded = self.read(self.objects()).await;
        self.tell().await;
        loaded.map(Rules::new)
    }

    pub(super) async fn follow(&self, rules: &Rules, stop: &Stop) {
        let mut said = None;
        loop {
            let turn = async {
                self.0.shared.changed.notified().await;
                tokio::time::sleep(SETTLE).await;
                self.look(rules, &mut said).await;
            };
            tokio::select! {
                () = turn => {}
                () = stop.draining() => return,
            }
        }
    }

    /// Takes over what has changed. `said`: why nothing could be, the last time.
    async fn look(&self, rules: &Rules, said: &mut Option<String>) {
        if let Some(trouble) = self.trouble() {
            if said.as_ref() != Some(&trouble) {
                let place = manifest::Place::of_folder(Path::new("the cluster"));
                rules.take("the cluster", Err(vec![Problem::error(&place, "", &trouble)]));
            }
            *said = Some(trouble);
            return;
        }
        let objects = self.objects();
        let is_new = manifest::version_of_objects(&objects) != self.seen().version;
        if is_new || said.take().is_some() {
            rules.take("the cluster", self.read(objects).await);
        }
        self.tell().await;
    }

    /// What keeps the objects from being known as they are now.
    fn trouble(&self) -> Option<String> {
        let seen = self.seen();
        let all: Vec<_> = seen
            .trouble
            .iter()
            .map(|((kind, namespace), trouble)| format!("{}s{}: {trouble}", kind.name(), within(namespace)))
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Reads a set, and remembers what is wrong with it.
    async fn read(&self, objects: Objects) -> std::result::Result<Manifests, Vec<Problem>> {
        let before = {
            let mut seen = self.seen();
            seen.version = manifest::version_of_objects(&objects);
            seen.in_force.clone()
        };
        let read = tokio::task::spawn_blocking(move || reading::read(objects, &before)).await;
        let reading = read.unwrap_or_else(|_| Err(Vec::new()))?;
        let mut seen = self.seen();
        for problem in reading.problems.iter().filter(|problem| !seen.problems.contains(problem)) {
            tracing::error!(%problem, "left out, or in force as it was before");
        }
        (seen.in_force, seen.problems) = (reading.objects, reading.problems);
        Ok(reading.set)
    }

    /// What counts of the objects, each under the name that problems give it.
    fn objects(&self) -> Objects {
        let seen = self.seen();
        let triggers = seen.objects.iter().filter(|((place, _), _)| place.0 == Kind::EventTrigger);
        let triggers = triggers.map(|(_, object)| object).filter(|trigger| self.concerns(trigger));
        let wanted = Wanted::by(triggers.map(|object| &object.data));
        let objects = seen.objects.iter().filter(|(((kind, namespace), name), object)| match kind {
            Kind::EventSource => true,
            Kind::EventTrigger => self.concerns(object),
            Kind::ConfigMap => wanted.takes(namespace, name, object),
        });
        objects.map(|(((kind, _), _), object)| (shown(*kind, object), plain(*kind, object))).collect()
    }

    /// Writes into every status what became of its object, where that is not there already.
    async fn tell(&self) {
        let (told, problems) = {
            let seen = self.seen();
            let told: Vec<_> = seen
                .objects
                .iter()
                .filter(|(((kind, _), _), object)| match kind {
                    Kind::ConfigMap => false,
                    Kind::EventSource => !seen.mute.contains(kind),
                    Kind::EventTrigger => !seen.mute.contains(kind) && self.concerns(object),
                })
                .map(|(((kind, _), name), object)| (*kind, name.clone(), object.clone()))
                .collect();
            (told, seen.problems.clone())
        };
        for (kind, name, object) in told {
            let mut files = vec![shown(kind, &object)];
            if kind == Kind::EventTrigger {
                files.extend(Wanted::by([&object.data].into_iter()).named());
            }
            let verdict = Verdict::on(&files, &problems);
            let Some(conditions) = condition::conditions(&object, &verdict) else { continue };
            let api = Api::<DynamicObject>::all_with(self.0.shared.client.clone(), &kind.resource());
            let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
            let written = async {
                let answer = api.patch_status(&name, &PatchParams::default(), &patch).await;
                // The object may be gone by now; its kind without a status stays so.
                let is_gone = matches!(&answer, Err(kube::Error::Api(status)) if status.code == 404)
                    && !api.get_opt(&name).await.is_ok_and(|found| found.is_some());
                if is_gone { Ok(()) } else { answer.map(drop) }
            };
            match timeout(PATIENCE, written).await {
                Ok(Ok(())) => {}
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404 | 405 | 422) => {
                    tracing::warn!(kind = kind.name(), reason = status.message, "no status can be written");
                    self.seen().mute.insert(kind);
                }
                Ok(Err(error)) => {
                    tracing::warn!(kind = kind.name(), name, %error, "the status was not written");
                }
                Err(_) => {
                    tracing::warn!(
                        kind = kind.name(),
                        name,
                        "the status was not written: no answer; trying on"
                    );
                    self.0.shared.changed.notify_one();
                    return;
                }
            }
        }
    }

    /// Whether a trigger is for this cluster, or says that so badly that somebody has to hear of it.
    fn concerns(&self, trigger: &DynamicObject) -> bool {
        let selector = LabelSelector::deserialize(&trigger.data["spec"]["sourceClusterSelector"]);
        let selector = selector.ok().and_then(Selector::of);
        selector.is_none_or(|selector| selector.matches(&self.0.shared.labels))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.shared.seen()
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists and watches, again and again.
    async fn watch(&self, place: &Place) {
        let mut pause = FIRST_PAUSE;
        let mut failed = 0;
        loop {
            let (listed, trouble) = self.round(place).await;
            if listed {
                (pause, failed) = (FIRST_PAUSE, 0);
            }
            let Some(trouble) = trouble else { continue };
            failed += u32::from(!listed);
            self.fails(place, &trouble, failed);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A watch that breaks off is nothing, and one list may fail; what cannot be listed twice is not known any more.
    fn fails(&self, place: &Place, trouble: &str, failed: u32) {
        let mut seen = self.seen();
        if failed < 2 && !seen.trouble.contains_key(place) {
            return;
        }
        if seen.trouble.insert(place.clone(), trouble.to_owned()).as_deref() != Some(trouble) {
            tracing::warn!(
                kind = place.0.name(),
                namespace = place.1,
                trouble,
                "manifests cannot be watched; trying on"
            );
            self.changed.notify_one();
        }
    }

    /// One list and the watch after it, until it fails. Whether the list came, and what failed then.
    async fn round(&self, place: &Place) -> (bool, Option<String>) {
        let resource = place.0.resource();
        let api = match place.1.as_str() {
            "" => Api::<DynamicObject>::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        let (mut listed, mut found) = (false, Vec::new());
        let mut until = Some(Instant::now() + PATIENCE);
        loop {
            let event = match until {
                Some(until) => timeout_at(until, events.next()).await,
                None => Ok(events.next().await),
            };
            let Ok(event) = event else {
                return (listed, Some(format!("no list came within {} s", PATIENCE.as_secs())));
            };
            let Some(event) = event else { return (listed, None) };
            match event {
                Ok(Event::Init) => {
                    found.clear();
                    until = Some(Instant::now() + PATIENCE);
                }
                Ok(Event::InitApply(object)) => found.push(object),
                Ok(Event::InitDone) => {
                    (listed, until) = (true, None);
                    let mut seen = self.seen();
                    seen.objects.retain(|(of, _), _| of != place);
                    seen.objects.extend(found.drain(..).map(|object| (key(place, &object), object)));
                    seen.trouble.remove(place);
                }
                Ok(Event::Apply(object)) => {
                    self.seen().objects.insert(key(place, &object), object);
                }
                Ok(Event::Delete(object)) => {
                    self.seen().objects.remove(&key(place, &object));
                }
                Err(error) => return (listed, Some(words(&error, place.0))),
            }
            if listed {
                self.changed.notify_one();
            }
        }
    }
}

fn key(place: &Place, object: &DynamicObject) -> (Place, String) {
    (place.clone(), object.metadata.name.clone().unwrap_or_default())
}

fn within(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!(" in {namespace}") }
}

/// Kubernetes' own words where there are some, and what to do.
fn words(error: &watcher::Error, kind: Kind) -> String {
    let Some(status) = said(error) else { return error.to_string() };
    match (status.code, kind) {
        (403, _) => format!("{}; the dispatcher's Role needs list and watch", status.message),
        (404, Kind::EventSource | Kind::EventTrigger) => {
            format!("{}; apply the definitions in dispatcher/deploy/crds, or install Sveltos", status.message)
        }
        (code, _) => format!("{code} {}", status.message),
    }
}
