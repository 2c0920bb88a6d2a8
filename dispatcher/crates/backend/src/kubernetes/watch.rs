//! One watch for each namespace follows all Jobs of the dispatcher, for every caller that waits for one of them. Its
//! news may be late: a caller that hears that a Job is missing asks the API server.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::Api;
use kube::core::Status;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::SELECTOR;
use super::observed::Observed;
use shared::pauses::Pauses;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A watch that has lived this long was not refused, because a refusal comes at once.
const SETTLES_AFTER: Duration = Duration::from_secs(5);
/// A list that takes longer will not come.
const LIST_TIMEOUT: Duration = Duration::from_secs(65);

/// News about the Job with one name.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// The Job exists in this state.
    Changed(Observed),
    /// The Job was removed; this was its last state.
    Deleted(Observed),
    /// The last list had no such Job.
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
    /// Starts the watch. All Jobs are listed again from time to time, because a watch may silently stop to receive.
    pub(super) fn start(client: &kube::Client, namespaces: &BTreeSet<String>, relist: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let tasks = namespaces.iter().map(|namespace| {
            shared.fails(namespace, "the Jobs have not been listed yet");
            let api = Api::<Observed>::namespaced(client.clone(), namespace);
            let (shared, namespace) = (Arc::clone(&shared), namespace.clone());
            tokio::spawn(async move { run(&shared, &api, &namespace, relist).await }).abort_handle()
        });
        let tasks = tasks.collect();
        Self { shared, tasks }
    }

    /// Follows the Job with this name from now on.
    pub(super) fn follow(&self, namespace: &str, name: &str) -> Follower {
        let key = (namespace.to_owned(), name.to_owned());
        let news = lock(&self.shared.waiters).entry(key.clone()).or_default().subscribe();
        Follower { shared: Arc::clone(&self.shared), key, news: Some(news) }
    }

    /// What is wrong with the watch; `None` if nothing is.
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

/// Receives the news about one name.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Arc<Shared>,
    key: Key,
    news: Option<watch::Receiver<Option<News>>>,
}

impl Follower {
    /// The newest news not seen yet; earlier news is skipped.
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
    fn tell(&self, namespace: &str, seen: &Observed, news: impl FnOnce(Observed) -> News) {
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

    fn works(&self, namespace: &str) {
        if lock(&self.trouble).remove(namespace).is_some() {
            tracing::info!(namespace, "the Jobs are watched");
        }
    }
}

/// Lists and watches, again and again.
async fn run(shared: &Shared, api: &Api<Observed>, namespace: &str, relist: Duration) {
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut said = false;
    loop {
        let Round { settled, error } = round(shared, api, namespace, relist, !said).await;
        if settled {
            pauses.reset();
            said = false;
        }
        let Some(error) = error else { continue };
        shared.fails(namespace, &error);
        if !said {
            tracing::warn!(namespace, error, "the Jobs cannot be watched; trying again");
            said = true;
        }
        tokio::time::sleep(pauses.take()).await;
    }
}

/// How one list and the watch after it ended.
struct Round {
    /// The watch worked. A list alone does not prove that: lists may be allowed and watches refused.
    settled: bool,
    error: Option<String>,
}

/// Runs one list and the watch after it, until the watch fails or it is time to list again. With `trusting`, a list
/// alone counts as working until the watch fails.
async fn round(
    shared: &Shared,
    api: &Api<Observed>,
    namespace: &str,
    relist: Duration,
    trusting: bool,
) -> Round {
    let config = watcher::Config::default().labels(SELECTOR);
    let mut events = std::pin::pin!(watcher(api.clone(), config));
    let mut found = HashSet::new();
    let mut settled = false;
    let mut relist_at = None;
    let mut until = Instant::now() + LIST_TIMEOUT;
    loop {
        let event = match tokio::time::timeout_at(until, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => return Round { settled, error: Some(words(&error)) },
            Ok(None) => return Round { settled, error: None },
            Err(_) => match relist_at {
                None => {
                    let error = "the list of Jobs did not come in time".to_owned();
                    return Round { settled, error: Some(error) };
                }
                Some(relist_at) if !settled && until < relist_at => {
                    (settled, until) = (true, relist_at);
                    shared.works(namespace);
                    continue;
                }
                Some(_) => return Round { settled: true, error: None },
            },
        };
        match event {
            Event::Init => {}
            Event::InitApply(seen) => {
                shared.tell(namespace, &seen, News::Changed);
                found.insert(seen.name().to_owned());
            }
            Event::InitDone => {
                shared.tell_missing(namespace, &std::mem::take(&mut found));
                if trusting {
                    shared.works(namespace);
                }
                let now = Instant::now();
                relist_at = Some(now + relist);
                until = if settled { now + relist } else { now + SETTLES_AFTER.min(relist) };
                continue;
            }
            Event::Apply(seen) => shared.tell(namespace, &seen, News::Changed),
            Event::Delete(seen) => shared.tell(namespace, &seen, News::Deleted),
        }
        // The list is part of the initialisation; what follows comes from the watch.
        if let (Some(relist_at), false) = (relist_at, settled) {
            (settled, until) = (true, relist_at);
            shared.works(namespace);
        }
    }
}

/// The API server's own message.
pub fn said(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Kubernetes' own words, if there are any.
fn words(error: &watcher::Error) -> String {
    let Some(status) = said(error) else { return error.to_string() };
    match status.code {
        403 => format!("{}; the dispatcher's Role needs jobs list and watch here", status.message),
        _ => format!("{} {}", status.code, status.message),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
