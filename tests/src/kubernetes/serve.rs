//! The stand-in over HTTP: get, list, watch, create, merge-patch and delete, and the two questions beside them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State as Extracted};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::fault::Effect;
use super::store::Change;
use super::{Shared, rules};

/// How often an idle watch is told the newest version.
const BOOKMARK_EVERY: Duration = Duration::from_secs(1);

type Queries = BTreeMap<String, String>;

/// What a path names.
struct Target {
    plural: String,
    namespace: String,
    name: String,
    sub: String,
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(answer).with_state(shared)
}

async fn answer(
    Extracted(shared): Extracted<Arc<Shared>>,
    method: Method,
    uri: Uri,
    Query(queries): Query<Queries>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(target) = Target::read(uri.path()) else {
        return failure(404, "NotFound", "the server could not find the requested resource");
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let call = target.call(&method, &queries, &body);
    // The one who plays controller and kubelet is no part of the story.
    let from_hand = headers.get("user-agent").is_some_and(|agent| agent == super::hand::AGENT);
    let effect = if from_hand { None } else { shared.effect(&call) };
    let answer = match effect {
        None => act(&shared, &method, &target, &queries, &body),
        Some(Effect::Slow(time)) => {
            tokio::time::sleep(time).await;
            act(&shared, &method, &target, &queries, &body)
        }
        Some(Effect::Cut) => cut(),
        Some(Effect::DoneThenCut) => {
            drop(act(&shared, &method, &target, &queries, &body));
            cut()
        }
        Some(Effect::Answer { code, body, retry_after }) => {
            let status = StatusCode::from_u16(code).expect("a status code");
            let mut answer = (status, body).into_response();
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert("retry-after", seconds.into());
            }
            answer
        }
    };
    if !from_hand {
        let mut state = shared.state();
        state.calls.push(format!("{call} {}", answer.status().as_u16()));
        state.queries.push(uri.query().unwrap_or_default().to_owned());
    }
    answer
}

impl Target {
    fn read(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        // /api/v1/… or /apis/group/v1/…
        parts.drain(
            ..match *parts.first()? {
                "api" => 2,
                "apis" => 3,
                _ => return None,
            },
        );
        let namespace = if parts.len() > 2 && parts[0] == "namespaces" {
            parts.drain(..2).nth(1).unwrap_or_default()
        } else {
            ""
        };
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or_default().to_owned();
        Some(Self { namespace: namespace.to_owned(), plural: next(), name: next(), sub: next() })
    }

    /// `POST jobs/a`, `LIST pods`, `GET pods/a/log`.
    fn call(&self, method: &Method, queries: &Queries, body: &Value) -> String {
        let verb = match method.as_str() {
            "GET" if queries.get("watch").is_some_and(|watch| watch == "true") => "WATCH",
            "GET" if self.name.is_empty() => "LIST",
            method => method,
        };
        let name = if self.name.is_empty() {
            body["metadata"]["name"].as_str().unwrap_or_default()
        } else {
            &self.name
        };
        let parts = [self.plural.as_str(), name, &self.sub];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        format!("{verb} {}", parts.join("/"))
    }
}

impl Shared {
    /// The effect of the first fault that fits, once less.
    fn effect(&self, call: &str) -> Option<Effect> {
        let mut state = self.state();
        let index = state.faults.iter().position(|fault| call.starts_with(&fault.call))?;
        let fault = &mut state.faults[index];
        fault.times -= 1;
        let effect = fault.effect.clone();
        if fault.times == 0 {
            state.faults.remove(index);
        }
        Some(effect)
    }

    /// Watches are told of what was changed, unless it is hidden from them.
    fn changed(&self) {
        let mut state = self.state();
        if state.hiding {
            state.store.hide_newest();
        }
        let version = state.store.version();
        drop(state);
        self.version.send_replace(version);
    }
}

fn act(shared: &Arc<Shared>, method: &Method, target: &Target, queries: &Queries, body: &Value) -> Response {
    match method.as_str() {
        "GET" if queries.get("watch").is_some_and(|watch| watch == "true") => watch(shared, target, queries),
        "GET" if target.name.is_empty() => list(shared, target, queries),
        "GET" if target.sub == "log" => log(shared, target),
        "GET" => get(shared, target),
        "POST" if target.plural == "selfsubjectaccessreviews" => {
            let mut review = body.clone();
            review["status"] = json!({"allowed": true});
            answer_with(201, &review)
        }
        "POST" => create(shared, target, queries, body),
        "PATCH" => patch(shared, target, body),
        "DELETE" => delete(shared, target, body),
        _ => failure(405, "MethodNotAllowed", "the server does not allow this method"),
    }
}

fn get(shared: &Shared, target: &Target) -> Response {
    match shared.state().store.get(&target.plural, &target.namespace, &target.name) {
        Some(object) => answer_with(200, object),
        None => missing(target),
    }
}

/// What the Hand put into an annotation of the Pod.
fn log(shared: &Shared, target: &Target) -> Response {
    match shared.state().store.get("pods", &target.namespace, &target.name) {
        Some(pod) => pod["metadata"]["annotations"]["tests/log"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
            .into_response(),
        None => missing(target),
    }
}

fn list(shared: &Shared, target: &Target, queries: &Queries) -> Response {
    let state = shared.state();
    let namespace = Some(target.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let all: Vec<_> =
        state.store.list(&target.plural, namespace).filter(|object| fits(object, queries)).collect();
    let from: usize = queries.get("continue").and_then(|token| token.parse().ok()).unwrap_or(0);
    let limit = queries.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let page: Vec<_> = all.iter().skip(from).take(limit).collect();
    let end = from + page.len();
    let mut metadata = json!({"resourceVersion": state.store.version().to_string()});
    if end < all.len() {
        metadata["continue"] = json!(end.to_string());
        metadata["remainingItemCount"] = json!(all.len() - end);
    }
    let answer = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": page});
    answer_with(200, &answer)
}

fn create(shared: &Shared, target: &Target, queries: &Queries, body: &Value) -> Response {
    let mut object = body.clone();
    let metadata = &mut object["metadata"];
    if metadata["name"].is_null()
        && let Some(prefix) = metadata["generateName"].as_str()
    {
        let random = uuid::Uuid::new_v4().simple().to_string();
        metadata["name"] = json!(format!("{prefix}{}", &random[..5]));
    }
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    if !target.namespace.is_empty() {
        metadata["namespace"] = json!(target.namespace);
        if shared.state().store.get("namespaces", "", &target.namespace).is_none() {
            let message = format!("namespaces \"{}\" not found", target.namespace);
            return failure(404, "NotFound", &message);
        }
    }
    let strict = queries.get("fieldValidation").is_some_and(|validation| validation == "Strict");
    if target.plural == "jobs"
        && let Err((code, message)) = rules::check_job(&object, strict)
    {
        return failure(code, if code == 400 { "BadRequest" } else { "Invalid" }, &message);
    }
    if shared.state().store.get(&target.plural, &target.namespace, &name).is_some() {
        let message = format!("{}.batch \"{name}\" already exists", target.plural);
        return failure(409, "AlreadyExists", &message);
    }
    let by = queries.get("fieldManager").cloned().unwrap_or_default();
    object["metadata"]["managedFields"] = json!([{"manager": by, "operation": "Update"}]);
    if queries.contains_key("dryRun") {
        rules::complete_job(&mut object, &json!("00000000-0000-0000-0000-000000000000"));
        return answer_with(201, &object);
    }
    let mut state = shared.state();
    state.store.put(&target.plural, &target.namespace, &name, object);
    let mut made = state.store.get(&target.plural, &target.namespace, &name).cloned().unwrap_or_default();
    if target.plural == "jobs" {
        // The version of its creation has the uid in it, as in one transaction.
        let uid = made["metadata"]["uid"].clone();
        rules::complete_job(&mut made, &uid);
        state.store.amend(&target.plural, &target.namespace, &name, &made);
        if state.completing {
            let mut ended = made.clone();
            let holds = |kind: &str| json!({"type": kind, "status": "True"});
            ended["status"] = json!({"startTime": rules::now(), "completionTime": rules::now(), "succeeded": 1,
                "conditions": [holds("SuccessCriteriaMet"), holds("Complete")]});
            state.store.put(&target.plural, &target.namespace, &name, ended);
        }
    }
    drop(state);
    shared.changed();
    answer_with(201, &made)
}

fn patch(shared: &Shared, target: &Target, body: &Value) -> Response {
    let mut state = shared.state();
    let Some(old) = state.store.get(&target.plural, &target.namespace, &target.name).cloned() else {
        drop(state);
        return missing(target);
    };
    let mut new = old.clone();
    let body = if target.sub == "status" { json!({"status": body["status"]}) } else { body.clone() };
    merge(&mut new, &body);
    if target.plural == "jobs"
        && target.sub == "status"
        && let Err(message) = rules::check_status(&old, &new)
    {
        return failure(422, "Invalid", &format!("Job.batch \"{}\" is invalid: {message}", target.name));
    }
    state.store.put(&target.plural, &target.namespace, &target.name, new.clone());
    let gone = !old["metadata"]["deletionTimestamp"].is_null()
        && new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    if gone {
        state.store.remove(&target.plural, &target.namespace, &target.name);
    }
    drop(state);
    shared.changed();
    answer_with(200, &new)
}

fn delete(shared: &Shared, target: &Target, body: &Value) -> Response {
    let mut state = shared.state();
    if target.name.is_empty() {
        let all: Vec<_> = state.store.list(&target.plural, Some(&target.namespace)).cloned().collect();
        for name in all.iter().filter_map(|object| object["metadata"]["name"].as_str()) {
            state.store.remove(&target.plural, &target.namespace, name);
        }
        drop(state);
        shared.changed();
        return answer_with(200, &json!({"kind": "List", "apiVersion": "v1", "items": all}));
    }
    let Some(object) = state.store.get(&target.plural, &target.namespace, &target.name).cloned() else {
        drop(state);
        return missing(target);
    };
    let wanted = &body["preconditions"]["uid"];
    if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}\": the UID in the precondition does not match",
            target.plural, target.name
        );
        return failure(409, "Conflict", &message);
    }
    if target.plural == "jobs" && body["propagationPolicy"] != "Background" {
        // What Kubernetes does for a Job by default, and nobody wants: its Pods stay.
        state.store.orphan(&object["metadata"]["uid"]);
    }
    let removed = state.store.remove(&target.plural, &target.namespace, &target.name);
    drop(state);
    shared.changed();
    answer_with(200, &removed.unwrap_or_default())
}

fn watch(shared: &Arc<Shared>, target: &Target, queries: &Queries) -> Response {
    let from: u64 = queries.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let seconds = queries.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(290);
    let (lines, received) = mpsc::channel(16);
    let watcher = Watcher {
        shared: Arc::clone(shared),
        plural: target.plural.clone(),
        namespace: target.namespace.clone(),
        queries: queries.clone(),
        lines,
    };
    tokio::spawn(async move {
        drop(tokio::time::timeout(Duration::from_secs(seconds), watcher.run(from)).await);
    });
    Body::from_stream(Lines(received)).into_response()
}

struct Watcher {
    shared: Arc<Shared>,
    plural: String,
    namespace: String,
    queries: Queries,
    lines: mpsc::Sender<Line>,
}

/// A line of a watch, or the cut that ends it.
type Line = Result<Bytes, std::io::Error>;

impl Watcher {
    /// Until nobody listens, the history is gone, or it is cut.
    async fn run(self, mut from: u64) {
        let mut versions = self.shared.version.subscribe();
        let mut cut = self.shared.cut.subscribe();
        loop {
            versions.borrow_and_update();
            let (news, newest) = {
                let state = self.shared.state();
                let news = state
                    .store
                    .since(from)
                    .map(|news| news.iter().filter(|c| self.concerns(c)).cloned().collect());
                (news, state.store.version())
            };
            let Some(news): Option<Vec<Change>> = news else {
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "too old resource version", "reason": "Expired", "code": 410});
                self.send("ERROR", &status).await;
                return;
            };
            for change in news {
                if !self.send(change.kind, &change.object).await {
                    return;
                }
            }
            from = newest;
            tokio::select! {
                _ = versions.changed() => {}
                _ = cut.changed() => {
                    drop(self.lines.send(Err(std::io::Error::other("cut"))).await);
                    return;
                }
                () = tokio::time::sleep(BOOKMARK_EVERY) => {
                    let bookmark = json!({"kind": "Job", "apiVersion": "batch/v1",
                        "metadata": {"resourceVersion": newest.to_string(), "creationTimestamp": null}});
                    let wanted = self.queries.get("allowWatchBookmarks").is_some_and(|wanted| wanted == "true");
                    if wanted && !self.send("BOOKMARK", &bookmark).await {
                        return;
                    }
                }
            }
        }
    }

    fn concerns(&self, change: &Change) -> bool {
        !change.hidden
            && change.plural == self.plural
            && (self.namespace.is_empty() || change.object["metadata"]["namespace"] == self.namespace)
            && fits(&change.object, &self.queries)
    }

    async fn send(&self, kind: &str, object: &Value) -> bool {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.lines.send(Ok(line.into())).await.is_ok()
    }
}

struct Lines(mpsc::Receiver<Line>);

impl futures_core::Stream for Lines {
    type Item = Line;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// Whether label and field selectors fit.
fn fits(object: &Value, queries: &Queries) -> bool {
    let each = |name: &str, fits: &dyn Fn(&str, Option<&str>) -> bool| {
        let selector = queries.get(name).map(String::as_str).unwrap_or_default();
        selector.split(',').filter(|part| !part.is_empty()).all(|part| match part.split_once('=') {
            Some((key, value)) => fits(key, Some(value.trim_start_matches('='))),
            None => fits(part, None),
        })
    };
    each("labelSelector", &|key, wanted| {
        let value = object["metadata"]["labels"][key].as_str();
        value.is_some_and(|value| wanted.is_none_or(|wanted| value == wanted))
    }) && each("fieldSelector", &|key, wanted| {
        let pointer = format!("/{}", key.replace('.', "/"));
        object.pointer(&pointer).and_then(Value::as_str) == wanted
    })
}

/// RFC 7396.
fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            object.as_object_mut().and_then(|object| object.remove(key));
        } else {
            merge(&mut object[key], value);
        }
    }
}

fn answer_with(code: u16, object: &Value) -> Response {
    (StatusCode::from_u16(code).expect("a status code"), axum::Json(object)).into_response()
}

fn missing(target: &Target) -> Response {
    failure(404, "NotFound", &format!("{} \"{}\" not found", target.plural, target.name))
}

fn failure(code: u16, reason: &str, message: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    answer_with(code, &status)
}

/// Promises more bytes than it sends.
fn cut() -> Response {
    let (lines, received) = mpsc::channel(2);
    let _ = lines.try_send(Ok(Bytes::from_static(b"{\"kind\": ")));
    let _ = lines.try_send(Err(std::io::Error::other("cut")));
    ([("content-length", "500"), ("content-type", "application/json")], Body::from_stream(Lines(received)))
        .into_response()
}
