//! Watches the EventSources, EventTriggers and ConfigMaps of the cluster.
//!
//! Reads EventSources and EventTriggers (which have no namespace), and ConfigMaps of the given namespaces. Only
//! triggers that select this cluster count, and only ConfigMaps that such a trigger refers to. Never reads a Secret.
//! Writes the condition `Ready` into the status of EventSources and EventTriggers, if their definitions have a
//! status. It needs these permissions: `list` and `watch` on all three, `get` on EventSources and EventTriggers, and
//! `patch` on their status.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::error::{Error, Result};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::condition::{self, Verdict};
use super::selection::{Kind, Wanted, WatchKey, asks_for_a_secret, plain, shown};
use crate::manifest::{self, Manifests, Problem, Selector};
use crate::manifest_source::Rules;
use crate::manifest_source::rules::unmet;
use crate::plan::Needs;
use backend::kubernetes::said;
use job::stop::Stop;
use shared::pauses::Pauses;

/// How long the first lists may take.
const START: Duration = Duration::from_secs(30);
/// `kubectl apply` of a folder creates one object after the other. Changes within this time are one change.
const SETTLE: Duration = Duration::from_millis(500);
/// A list, or an answer to a written status, that takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The objects by the names that problems use for them.
type Objects = BTreeMap<String, Value>;

/// The objects, watched until the last copy is dropped. Cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    watches: Vec<AbortHandle>,
}

struct Shared {
    client: kube::Client,
    /// The cluster that the dispatcher serves. Triggers for others are ignored here.
    labels: BTreeMap<String, String>,
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Default)]
struct Seen {
    objects: BTreeMap<(WatchKey, String), DynamicObject>,
    /// What is wrong with a watch.
    trouble: BTreeMap<WatchKey, String>,
    /// Kinds whose status cannot be written, or is not stored.
    mute: BTreeSet<Kind>,
    /// Triggers that Sveltos also acts on, as already logged.
    shared: BTreeSet<String>,
    /// The set that was read last.
    version: String,
    /// The problems of that set.
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
    /// Starts to watch, and returns when everything was listed once.
    pub async fn open(
        client: kube::Client,
        labels: BTreeMap<String, String>,
        namespaces: &BTreeSet<String>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared { client, labels, seen: Mutex::default(), changed: Notify::new() });
        let mut watch_keys = vec![(Kind::EventSource, String::new()), (Kind::EventTrigger, String::new())];
        watch_keys.extend(namespaces.iter().map(|namespace| (Kind::ConfigMap, namespace.clone())));
        for watch_key in &watch_keys {
            shared.seen().trouble.insert(watch_key.clone(), "they have not been listed yet".to_owned());
        }
        let watches = watch_keys.into_iter().map(|watch_key| {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move { shared.watch(&watch_key).await }).abort_handle()
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

    pub(super) async fn load(&self, needs: Needs) -> std::result::Result<Rules, Vec<Problem>> {
        let needs = Arc::new(needs);
        let loaded = self.read(self.objects(), None, Some(Arc::clone(&needs))).await;
        self.tell().await;
        loaded.map(|set| Rules::new(set).needing(needs))
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

    /// Applies what has changed. `said`: the reason that was logged last, if nothing could be applied.
    async fn look(&self, rules: &Rules, said: &mut Option<String>) {
        if let Some(trouble) = self.trouble() {
            if said.as_ref() != Some(&trouble) {
                let position = manifest::Position::of_folder(Path::new("the cluster"));
                rules.take("the cluster", Err(vec![Problem::error(&position, "", &trouble)]));
            }
            *said = Some(trouble);
            return;
        }
        let objects = self.objects();
        let is_new = manifest::version_of_objects(&objects) != self.seen().version;
        if is_new || said.take().is_some() {
            rules.take("the cluster", self.read(objects, Some(rules.current()), rules.needs()).await);
        }
        self.tell().await;
    }

    /// Why the present objects are not known.
    fn trouble(&self) -> Option<String> {
        let seen = self.seen();
        let all: Vec<_> = seen
            .trouble
            .iter()
            .map(|((kind, namespace), trouble)| format!("{}s{}: {trouble}", kind.name(), within(namespace)))
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Reads a set, and remembers its problems.
    async fn read(
        &self,
        objects: Objects,
        before: Option<Arc<Manifests>>,
        needs: Option<Arc<Needs>>,
    ) -> std::result::Result<Manifests, Vec<Problem>> {
        self.seen().version = manifest::version_of_objects(&objects);
        let known = objects.iter().filter_map(|(name, object)| asks_for_a_secret(name, object)).collect();
        let read = move || {
            let unmet = |set: &Manifests| unmet(needs.as_deref(), set);
            manifest::from_objects(&objects, before.as_deref(), known, &unmet)
        };
        let read = tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err(Vec::new()));
        let (Ok(Manifests { faults: problems, .. }) | Err(problems)) = &read;
        self.seen().problems.clone_from(problems);
        read
    }

    /// The objects that count, by the names that problems use for them.
    fn objects(&self) -> Objects {
        let seen = self.seen();
        let triggers = seen.objects.iter().filter(|((watch_key, _), _)| watch_key.0 == Kind::EventTrigger);
        let triggers = triggers.map(|(_, object)| object).filter(|trigger| self.concerns(trigger));
        let wanted = Wanted::by(triggers.map(|object| &object.data));
        let objects = seen.objects.iter().filter(|(((kind, namespace), name), object)| match kind {
            Kind::EventSource => true,
            Kind::EventTrigger => self.concerns(object),
            Kind::ConfigMap => wanted.takes(namespace, name, object),
        });
        objects.map(|(((kind, _), _), object)| (shown(*kind, object), plain(*kind, object))).collect()
    }

    /// Logs once for every trigger that Sveltos also acts on it, and again if Sveltos starts again.
    fn tell_of_sveltos(&self) {
        let mut seen = self.seen();
        let triggers = seen.objects.iter().filter(|((watch_key, _), _)| watch_key.0 == Kind::EventTrigger);
        let triggers =
            triggers.filter(|(_, trigger)| self.concerns(trigger) && condition::is_of_sveltos(trigger));
        let shared: BTreeSet<String> = triggers.map(|((_, name), _)| name.clone()).collect();
        for trigger in shared.difference(&seen.shared) {
            tracing::warn!(
                trigger,
                "Sveltos acts on this trigger as well (status.clusterInfo): each event makes its Job twice, or one refuses the other's; stop its event-manager, or remove the trigger there"
            );
        }
        seen.shared = shared;
    }

    /// Writes the result into the status of every object, unless it is already there.
    async fn tell(&self) {
        self.tell_of_sveltos();
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
                if let Ok(kept) = &answer
                    && !condition::is_kept(kept)
                {
                    tracing::warn!(
                        kind = kind.name(),
                        "the definition keeps no status.conditions, as that of Sveltos: the log, the page and /readyz say what became of each object"
                    );
                    self.seen().mute.insert(kind);
                }
                // The object may be gone by now; a kind without a status stays one.
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
                        "the status was not written: no answer; trying again"
                    );
                    self.0.shared.changed.notify_one();
                    return;
                }
            }
        }
    }

    /// Whether a trigger is for this cluster, or has such a mistake there that somebody must be told.
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
        self.seen.lock()
    }

    /// Lists and watches, again and again.
    async fn watch(&self, watch_key: &WatchKey) {
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut failed = 0;
        loop {
            let (listed, trouble) = self.round(watch_key).await;
            if listed {
                pauses.reset();
                failed = 0;
            }
            let Some(trouble) = trouble else { continue };
            failed += u32::from(!listed);
            self.fails(watch_key, &trouble, failed);
            tokio::time::sleep(pauses.take()).await;
        }
    }

    /// A watch may break off and one list may fail. If listing fails twice, the objects are no longer known.
    fn fails(&self, watch_key: &WatchKey, trouble: &str, failed: u32) {
        let mut seen = self.seen();
        if failed < 2 && !seen.trouble.contains_key(watch_key) {
            return;
        }
        if seen.trouble.insert(watch_key.clone(), trouble.to_owned()).as_deref() != Some(trouble) {
            tracing::warn!(
                kind = watch_key.0.name(),
                namespace = watch_key.1,
                trouble,
                "manifests cannot be watched; trying again"
            );
            self.changed.notify_one();
        }
    }

    /// One list and the watch after it, until it fails. Returns whether the list came, and the failure.
    async fn round(&self, watch_key: &WatchKey) -> (bool, Option<String>) {
        let resource = watch_key.0.resource();
        let api = match watch_key.1.as_str() {
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
                    seen.objects.retain(|(of, _), _| of != watch_key);
                    seen.objects.extend(found.drain(..).map(|object| (key(watch_key, &object), object)));
                    seen.trouble.remove(watch_key);
                }
                Ok(Event::Apply(object)) => {
                    self.seen().objects.insert(key(watch_key, &object), object);
                }
                Ok(Event::Delete(object)) => {
                    self.seen().objects.remove(&key(watch_key, &object));
                }
                Err(error) => return (listed, Some(words(&error, watch_key.0))),
            }
            if listed {
                self.changed.notify_one();
            }
        }
    }
}

fn key(watch_key: &WatchKey, object: &DynamicObject) -> (WatchKey, String) {
    (watch_key.clone(), object.metadata.name.clone().unwrap_or_default())
}

fn within(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!(" in {namespace}") }
}

/// Kubernetes' own words, if there are any, and the remedy.
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
