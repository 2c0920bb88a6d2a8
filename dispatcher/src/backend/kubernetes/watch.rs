//! One watch of all our Jobs per namespace, whoever waits for one of them. What it tells is news, not truth: who is told that a
//! Job is missing asks.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use kube::Api;
use kube::core::Status;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::SELECTOR;
use super::seen::Seen;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A list that takes longer will not come.
const LIST_TIMEOUT: Duration = Duration::from_secs(65);

/// Something about a Job's name.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// A Job of this name is there, like this.
    Changed(Seen),
    /// The Job of this name was removed; this is how it was last.
    Deleted(Seen),
    /// There was none in the last list.
    Missing,
}

/// Namespace and name.
type Key = (String, String);
type Waiters = Mutex<HashMap<Key, watch::Sender<Option<News>>>>;

/// Watches until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

#[derive(Debug, Default)]
struct Shared {
    waiters: Waiters,
    /// What is wrong, by namespace.
    trouble: Mutex<HashMap<String, String>>,
}

impl Watch {
    /// Begins to watch; every so often everything is listed anew, because a watch may be deaf and not know it.
    pub(super) fn start(client: &kube::Client, namespaces: &BTreeSet<String>, relist: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let tasks = namespaces.iter().map(|namespace| {
            shared.fails(namespace, "the Jobs have not been listed yet");
            let api = Api::<Seen>::namespaced(client.clone(), namespace);
            let (shared, namespace) = (Arc::clone(&shared), namespace.clone());
            tokio::spawn(async move { run(&shared, &api, &namespace, relist).await }).abort_handle()
        });
        let tasks = tasks.collect();
        Self { shared, tasks }
    }

    /// From now on every news of this name.
    pub(super) fn follow(&self, namespace: &str, name: &str) -> Follower {
        let key = (namespace.to_owned(), name.to_owned());
        let news = lock(&self.shared.waiters).entry(key.clone()).or_default().subscribe();
        Follower { shared: Arc::clone(&self.shared), key, news: Some(news) }
    }

    /// What is wrong with it, if something is.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.shared.trouble).values().next().cloned()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Is told of one name.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Arc<Shared>,
    key: Key,
    news: Option<watch::Receiver<Option<News>>>,
}

impl Follower {
    /// The newest news that was not told yet; what came in between is gone.
    pub(super) async fn next(&mut self) -> News {
        let Some(news) = &mut self.news else { return std::future::pending().await };
        loop {
            // The sender lives as long as this follower.
            if news.changed().await.is_err() {
                return std::future::pending().await;
            }
            if let Some(news) = news.borrow_and_update().clone() {
                return news;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.news = None;
        let mut waiters = lock(&self.shared.waiters);
        if waiters.get(&self.key).is_some_and(|waiter| waiter.receiver_count() == 0) {
            waiters.remove(&self.key);
        }
    }
}

impl Shared {
    fn tell(&self, namespace: &str, seen: &Seen, news: impl FnOnce(Seen) -> News) {
        let key = (namespace.to_owned(), seen.name().to_owned());
        if let Some(waiter) = lock(&self.waiters).get(&key) {
            waiter.send_replace(Some(news(seen.clone())));
        }
    }

    fn tell_missing(&self, namespace: &str, listed: &HashSet<String>) {
        for ((of, name), waiter) in lock(&self.waiters).iter() {
            if of == namespace && !listed.contains(name) {
                waiter.send_replace(Some(News::Missing));
            }
        }
    }

    fn fails(&self, namespace: &str, what: &str) {
        lock(&self.trouble).insert(namespace.to_owned(), format!("namespace {namespace}: {what}"));
    }

    /// True where it failed before.
    fn works(&self, namespace: &str) -> bool {
        lock(&self.trouble).remove(namespace).is_some()
    }
}

/// Lists and watches, again and again.
async fn run(shared: &Shared, api: &Api<Seen>, namespace: &str, relist: Duration) {
    let mut pause = FIRST_PAUSE;
    let mut said = false;
    loop {
        let (listed, error) = round(shared, api, namespace, relist).await;
        if listed {
            (pause, said) = (FIRST_PAUSE, false);
        }
        let Some(error) = error else { continue };
        shared.fails(namespace, &error);
        if !said {
            tracing::warn!(namespace, error, "the Jobs cannot be watched; trying on");
            said = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One list and the watch after it, until it fails or is to be listed anew. Whether the list came, and what failed then.
async fn round(
    shared: &Shared,
    api: &Api<Seen>,
    namespace: &str,
    relist: Duration,
) -> (bool, Option<String>) {
    let config = watcher::Config::default().labels(SELECTOR);
    let mut events = std::pin::pin!(watcher(api.clone(), config));
    let mut found = HashSet::new();
    let mut listed = false;
    let mut until = Instant::now() + LIST_TIMEOUT;
    loop {
        let event = match tokio::time::timeout_at(until, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => return (listed, Some(words(&error))),
            Ok(None) => return (listed, None),
            Err(_) if listed => return (true, None),
            Err(_) => return (false, Some("the list of Jobs did not come in time".to_owned())),
        };
        match event {
            Event::Init => {}
            Event::InitApply(seen) => {
                shared.tell(namespace, &seen, News::Changed);
                found.insert(seen.name().to_owned());
            }
            Event::InitDone => {
                shared.tell_missing(namespace, &std::mem::take(&mut found));
                if shared.works(namespace) {
                    tracing::info!(namespace, "the Jobs are watched");
                }
                (listed, until) = (true, Instant::now() + relist);
            }
            Event::Apply(seen) => shared.tell(namespace, &seen, News::Changed),
            Event::Delete(seen) => shared.tell(namespace, &seen, News::Deleted),
        }
    }
}

/// What the API server itself said.
pub(crate) fn said(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Kubernetes' own words where there are some.
fn words(error: &watcher::Error) -> String {
    let Some(status) = said(error) else { return error.to_string() };
    match status.code {
        403 => format!("{}; the dispatcher's Role needs jobs list and watch here", status.message),
        _ => format!("{} {}", status.code, status.message),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
