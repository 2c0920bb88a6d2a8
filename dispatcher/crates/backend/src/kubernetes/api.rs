//! The calls to the API server. Each has a time limit and counts against the rate limit, and is repeated while the
//! server is unreachable or busy.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1;
use kube::Resource;
use kube::api::{
    DeleteParams, GetParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::client::Body;
use kube::core::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;

use super::api_error::{ApiError, Kind};
use super::observed::{Event, Observed, Pod};
use super::rate_limit::{Limit, Rate};
use super::{FIELD_MANAGER, event_time};
use rules::plan::{DELETED_LABEL, PlannedJob};
use shared::pauses::Pauses;

/// How long one call may take. The API server itself gives up after 60 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(65);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often a conflict is repeated. A real conflict is over long before.
const MOST_CONFLICTS: u32 = 10;
/// How many lines of output are requested.
const MOST_LINES: i64 = 1000;

/// The number of simultaneous calls. Each has a connection of its own, whose buffers stay for a while.
const MOST_AT_ONCE: usize = 64;

/// Makes the calls.
pub(super) struct Calls {
    client: kube::Client,
    limit: Limit,
    at_once: Semaphore,
    /// Calls under way that the API server has not answered yet.
    unanswered: AtomicUsize,
}

type Result<T> = std::result::Result<T, ApiError>;
type Raw = http::Request<Vec<u8>>;

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Calls {
    pub(super) fn new(client: kube::Client, rate: Rate) -> Self {
        let at_once = Semaphore::new(MOST_AT_ONCE);
        Self { client, limit: Limit::new(rate), at_once, unanswered: AtomicUsize::new(0) }
    }

    /// Whether a call has waited too long for an answer.
    pub(super) fn is_away(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) > 0
    }

    /// Creates the Job; [`Kind::Exists`] if there is one with its name.
    pub(super) async fn create(&self, job: &PlannedJob) -> Result<Observed> {
        self.post(&job.namespace, job.manifest.text().as_bytes().to_vec(), false).await
    }

    /// What the API server would make of this manifest of a Job.
    pub(super) async fn dry_run(&self, namespace: &str, manifest: Vec<u8>) -> Result<serde_json::Value> {
        self.post(namespace, manifest, true).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        namespace: &str,
        manifest: Vec<u8>,
        dry_run: bool,
    ) -> Result<T> {
        let parameters = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.into()) };
        let mut request =
            jobs(namespace).create(&parameters, manifest).map_err(|error| cannot("POST jobs", error))?;
        // Misspelt and repeated fields are errors; otherwise they would be lost silently.
        let strict = format!("{}&fieldValidation=Strict", request.uri());
        *request.uri_mut() = strict.parse().map_err(|error| cannot("POST jobs", error))?;
        self.json("POST jobs", request).await
    }

    /// The Job of this name.
    pub(super) async fn job(&self, namespace: &str, name: &str) -> Result<Option<Observed>> {
        let request = jobs(namespace).get(name, &GetParams::default());
        found(self.json("GET job", request.map_err(|error| cannot("GET job", error))?).await)
    }

    /// The Jobs that a selector finds.
    pub(super) async fn jobs(&self, namespace: &str, selector: &str) -> Result<Vec<Observed>> {
        let request = jobs(namespace).list(&ListParams::default().labels(selector));
        let list: List<Observed> =
            self.json("LIST jobs", request.map_err(|error| cannot("LIST jobs", error))?).await?;
        Ok(list.items)
    }

    /// Marks this very Job as withdrawn, if it runs, so that its follower knows why it is gone.
    pub(super) async fn mark(&self, namespace: &str, job: &Observed) -> Result<()> {
        let mut now = job.clone();
        while now.uid() == job.uid() && !now.has_ended() && !now.is_taken_back() {
            let metadata = json!({"resourceVersion": now.version(), "labels": {DELETED_LABEL: "true"}});
            let change = Patch::Merge(json!({ "metadata": metadata }));
            let by = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
            let request = jobs(namespace).patch(job.name(), &by, &change);
            let request = request.map_err(|error| cannot("PATCH job", error))?;
            match self.bytes("PATCH job", request, false).await {
                Err(fault) if fault.kind == Kind::Conflict => match self.job(namespace, job.name()).await? {
                    Some(newer) => now = newer,
                    None => return Ok(()),
                },
                Err(fault) if fault.kind != Kind::Missing => return Err(fault),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Removes this very Job in any state; its Pods are removed after it. It may already be gone.
    pub(super) async fn delete(&self, namespace: &str, job: &Observed) -> Result<()> {
        let only_this = || Preconditions { uid: Some(job.uid().to_owned()), resource_version: None };
        while !self.remove(namespace, job, only_this()).await? {
            match self.job(namespace, job.name()).await? {
                Some(now) if now.uid() == job.uid() => tokio::time::sleep(FIRST_PAUSE).await,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Removes the Job if it has not changed since it was seen. False if it has changed; true if it is gone.
    pub(super) async fn delete_unchanged(&self, namespace: &str, job: &Observed) -> Result<bool> {
        let version = Some(job.version().to_owned());
        let only_so = Preconditions { uid: Some(job.uid().to_owned()), resource_version: version };
        self.remove(namespace, job, only_so).await
    }

    /// False if the preconditions do not hold.
    async fn remove(&self, namespace: &str, job: &Observed, only: Preconditions) -> Result<bool> {
        let parameters = DeleteParams::background().preconditions(only);
        let request =
            jobs(namespace).delete(job.name(), &parameters).map_err(|error| cannot("DELETE job", error))?;
        match self.bytes("DELETE job", request, false).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.kind == Kind::Missing => Ok(true),
            Err(fault) if fault.kind == Kind::Conflict => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// The Pods of the Job, oldest first; `None` if they cannot be read.
    pub(super) async fn pods_of(&self, namespace: &str, job: &Observed) -> Option<Vec<Pod>> {
        let selector = format!("batch.kubernetes.io/controller-uid={}", job.uid());
        match self.pods(namespace, &selector).await {
            Ok(pods) => Some(pods),
            Err(fault) => {
                tracing::warn!(job.name = job.name(), error = %fault, "the Job's Pods cannot be read: what the worker said is not known");
                None
            }
        }
    }

    /// The Events about an object, oldest first; `None` if they may not be read, which is not a failure.
    pub(super) async fn events_of(&self, namespace: &str, uid: &str) -> Option<Vec<Event>> {
        self.events(namespace, &format!("involvedObject.uid={uid}")).await
    }

    /// The warnings about all objects, oldest first. The Pods of a Job past its deadline are gone, but their Events
    /// are not.
    pub(super) async fn warnings(&self, namespace: &str) -> Option<Vec<Event>> {
        self.events(namespace, "type=Warning").await
    }

    async fn events(&self, namespace: &str, selector: &str) -> Option<Vec<Event>> {
        let which = ListParams::default().fields(selector);
        let request = Request::new(v1::Event::url_path(&(), Some(namespace))).list(&which).ok()?;
        let list: List<Event> = self.json("LIST events", request).await.ok()?;
        let mut events = list.items;
        events.sort_by_key(event_time::last_seen);
        Some(events)
    }

    async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<Pod>> {
        let request = pods(namespace).list(&ListParams::default().labels(selector));
        let list: List<Pod> =
            self.json("LIST pods", request.map_err(|error| cannot("LIST pods", error))?).await?;
        let mut pods = list.items;
        pods.sort_by(|a, b| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp));
        Ok(pods)
    }

    /// The last output of the Job's newest Pod.
    pub(super) async fn logs(&self, namespace: &str, name: &str, most: u64) -> Result<Option<String>> {
        let selector = format!("batch.kubernetes.io/job-name={name}");
        let Some(pod) = self.pods(namespace, &selector).await?.pop() else { return Ok(None) };
        let container = pod.speaker().map(str::to_owned);
        let pod = pod.metadata.name.unwrap_or_default();
        let parameters = LogParams { container, tail_lines: Some(MOST_LINES), ..LogParams::default() };
        let request =
            pods(namespace).logs(&pod, &parameters).map_err(|error| cannot("GET pods/log", error))?;
        match self.bytes("GET pods/log", request, true).await {
            // A container that has not started has no output; the API server says why.
            Err(fault) if fault.kind == Kind::Waiting => Ok(Some(fault.message)),
            bytes => Ok(found(bytes)?.map(|bytes| {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(most)..]).into_owned()
            })),
        }
    }

    async fn json<T: DeserializeOwned>(&self, what: &'static str, request: Raw) -> Result<T> {
        let bytes = self.bytes(what, request, true).await?;
        serde_json::from_slice(&bytes).map_err(|error| ApiError {
            kind: Kind::NotNow,
            message: format!("the API server's answer to {what} cannot be read: {error}"),
            after: None,
        })
    }

    /// Makes the call, and repeats it while the trouble may pass. To end it, drop it.
    async fn bytes(&self, what: &'static str, request: Raw, conflicts: bool) -> Result<Vec<u8>> {
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut tries = 0;
        let mut unanswered = None;
        loop {
            tries += 1;
            self.limit.turn().await;
            let at_once = self.at_once.acquire().await;
            let done = self.once(what, &request).await;
            drop(at_once);
            let fault = match done {
                Ok(bytes) => {
                    if unanswered.take().is_some() && !self.is_away() {
                        tracing::info!("the API server answers again");
                    }
                    return Ok(bytes);
                }
                Err(fault) => fault,
            };
            let gives_up = fault.kind == Kind::Conflict && (!conflicts || tries > MOST_CONFLICTS);
            if !fault.passes() || gives_up {
                return Err(fault);
            }
            if fault.kind == Kind::Away && unanswered.is_none() {
                if !self.is_away() {
                    tracing::warn!(error = %fault, "the API server is away; asking on");
                }
                unanswered = Some(Unanswered::one_more(&self.unanswered));
            }
            let pause = if fault.after.is_some() { pauses.peek() } else { pauses.take() };
            tokio::time::sleep(before_next_try(fault.after, pause)).await;
        }
    }

    async fn once(&self, what: &str, request: &Raw) -> Result<Vec<u8>> {
        let exchange = async {
            let sent = self.client.send(request.clone().map(Body::from)).await;
            let answer = sent.map_err(|error| ApiError::away(what, &error))?;
            let code = answer.status();
            let after =
                answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
            let body =
                answer.into_body().collect_bytes().await.map_err(|error| ApiError::away(what, &error))?;
            if code.is_success() {
                return Ok(body.to_vec());
            }
            Err(ApiError::of_answer(what, code.as_u16(), &body, after.map(Duration::from_secs)))
        };
        match tokio::time::timeout(CALL_TIMEOUT, exchange).await {
            Ok(done) => done,
            Err(late) => Err(ApiError::away(what, &late)),
        }
    }
}

/// At least as long as the API server asks for, and different for each caller, so that they do not all come back at
/// once.
fn before_next_try(asked: Option<Duration>, pause: Duration) -> Duration {
    match asked {
        Some(asked) => asked + asked.mul_f64(fastrand::f64()),
        None => pause.mul_f64(0.5 + fastrand::f64() / 2.0),
    }
}

/// A call without an answer so far. It stops counting when it is answered or dropped.
struct Unanswered<'a>(&'a AtomicUsize);

impl<'a> Unanswered<'a> {
    fn one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn jobs(namespace: &str) -> Request {
    Request::new(Job::url_path(&(), Some(namespace)))
}

fn pods(namespace: &str) -> Request {
    Request::new(v1::Pod::url_path(&(), Some(namespace)))
}

/// 404 is an answer too.
fn found<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(fault) if fault.kind == Kind::Missing => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The request could not be built: for example, the name is not valid.
fn cannot(what: &str, error: impl fmt::Display) -> ApiError {
    ApiError {
        kind: Kind::Refused,
        message: format!("cannot ask the API server ({what}): {error}"),
        after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_the_server_names_is_kept_and_callers_spread_after_it() {
        let asked = Duration::from_secs(2);
        let waits: Vec<_> = (0..100).map(|_| before_next_try(Some(asked), LONGEST_PAUSE)).collect();
        assert!(waits.iter().all(|wait| (asked..asked * 2).contains(wait)), "{waits:?}");
        assert!(waits.iter().max() > waits.iter().min());
        let waits: Vec<_> = (0..100).map(|_| before_next_try(None, FIRST_PAUSE)).collect();
        assert!(waits.iter().all(|wait| (FIRST_PAUSE / 2..=FIRST_PAUSE).contains(wait)), "{waits:?}");
    }
}
