//! EventSources, EventTriggers and ConfigMaps as the cluster has them, watched.
//!
//! Reads the first two everywhere (they belong to no namespace) and ConfigMaps of the given namespaces. Of triggers only those count
//! that select this cluster, of ConfigMaps only those that such a trigger refers to. Never reads a Secret. Writes the condition
//! `Ready` into the status of EventSources and EventTriggers, where their definitions have one. The Roles that it needs: `list` and
//! `watch` on all three, `get` on the first two, `patch` on their status.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::error::{Error, Result};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::condition::{self, Verdict};
use super::object::{Kind, Place, Wanted, plain, shown};
use crate::backend::kubernetes::said;
use crate::engine::rules::Rules;
use crate::engine::stop::Stop;
use crate::manifest::{self, Manifests, Problem, Selector};

/// The first lists must be there after this time.
const START: Duration = Duration::from_secs(30);
/// `kubectl apply` of a folder comes object by object: what comes within this time is one change.
const SETTLE: Duration = Duration::from_millis(500);
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
    /// What was wrong with the newest set.
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
        if tokio::time::timeout(START, listed).await.is_err() {
            let trouble: Vec<_> = cluster
                .seen()
                .trouble
                .iter()
                .map(|((kind, namespace), trouble)| {
                    format!("{}s{}: {trouble}", kind.name(), within(namespace))
                })
                .collect();
            let message = format!("the manifests cannot be read from the cluster: {}", trouble.join("; "));
            return Err(Error::unavailable(message));
        }
        Ok(cluster)
    }

    pub(super) async fn load(&self) -> std::result::Result<Rules, Vec<Problem>> {
        let loaded = self.read(self.objects()).await;
        self.tell().await;
        loaded.map(Rules::new)
    }

    pub(super) async fn follow(&self, rules: &Rules, stop: &Stop) {
        let mut last = rules.current().version.clone();
        loop {
            tokio::select! {
                () = self.0.shared.changed.notified() => {}
                () = stop.draining() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(SETTLE) => {}
                () = stop.draining() => return,
            }
            let objects = self.objects();
            let version = manifest::version_of_objects(&objects);
            if version != last {
                last = version;
                rules.take("the cluster", self.read(objects).await);
            }
            self.tell().await;
        }
    }

    /// Reads a set, and remembers what is wrong with it.
    async fn read(&self, objects: BTreeMap<String, Value>) -> std::result::Result<Manifests, Vec<Problem>> {
        let read = tokio::task::spawn_blocking(move || manifest::from_objects(&objects)).await;
        let read = read.unwrap_or_else(|_| Err(Vec::new()));
        self.seen().problems = read.as_ref().err().cloned().unwrap_or_default();
        read
    }

    /// What counts of the objects, each under the name that problems give it.
    fn objects(&self) -> BTreeMap<String, Value> {
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
            match api.patch_status(&name, &PatchParams::default(), &patch).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 405 | 422) => {
                    // The object may be gone by now; its kind without a status stays so.
                    if status.code != 404 || api.get_opt(&name).await.is_ok_and(|found| found.is_some()) {
                        tracing::warn!(
                            kind = kind.name(),
                            reason = status.message,
                            "no status can be written"
                        );
                        self.seen().mute.insert(kind);
                    }
                }
                Err(error) => tracing::warn!(kind = kind.name(), name, %error, "the status was not written"),
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
        loop {
            let (listed, trouble) = self.round(place).await;
            if listed {
                pause = FIRST_PAUSE;
            }
            if let Some(trouble) = trouble {
                let is_new =
                    self.seen().trouble.insert(place.clone(), trouble.clone()).as_ref() != Some(&trouble);
                if is_new {
                    tracing::warn!(
                        kind = place.0.name(),
                        namespace = place.1,
                        trouble,
                        "manifests cannot be watched; trying on"
                    );
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
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
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => found.clear(),
                Ok(Event::InitApply(object)) => found.push(object),
                Ok(Event::InitDone) => {
                    listed = true;
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
        (listed, None)
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
