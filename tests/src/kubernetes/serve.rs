//! The stand-in over HTTP: what a path names, which calls are held up or fail, and the record of all calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State as Extracted};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::fault::Effect;
use super::record::{Asked, Call};
use super::respond::{cut, failure};
use super::{Shared, act, role};

/// The name of the Job in a dispatcher's dry runs; nothing is created.
const PROBE: &str = "knapscen-dispatcher-probe";

pub(super) type Queries = BTreeMap<String, String>;

/// What a path names.
pub(super) struct Target {
    group: String,
    pub(super) plural: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) sub: String,
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
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(target) = Target::read(uri.path()) else {
        return failure(404, "NotFound", "the server could not find the requested resource");
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    // The caller that plays controller and kubelet is not recorded.
    if header("user-agent") == super::hand::AGENT {
        return act::act(&shared, &method, &target, &queries, &body);
    }
    if !shared.lets_in(header("authorization")) {
        return failure(401, "Unauthorized", "Unauthorized");
    }
    let words = target.words(&method, &queries, &body);
    let mut held = shared.held.subscribe();
    // The sender lives as long as the shared state.
    let _ = held.wait_for(|held| held.as_ref().is_none_or(|held| !words.starts_with(held))).await;
    let mut effect = shared.effect(&words);
    if let Some(Effect::Slow(time)) = effect {
        tokio::time::sleep(time).await;
        effect = None;
    }
    let query = uri.query().unwrap_or_default().to_owned();
    let asked = target.asked(&method, &queries);
    let refusal = role::refusal(&asked);
    // From here on nothing waits, so that whoever sees the effect of a call also sees it in the record.
    let agent = header("user-agent").to_owned();
    let number = shared.state().record.begin(Call { words, query, asked, agent, code: None });
    let answer = match effect {
        _ if refusal.is_some() => failure(403, "Forbidden", &refusal.unwrap_or_default()),
        None | Some(Effect::Slow(_)) => act::act(&shared, &method, &target, &queries, &body),
        Some(Effect::WithoutLabels) => {
            let mut body = body;
            body["metadata"]["labels"] = Value::Null;
            act::act(&shared, &method, &target, &queries, &body)
        }
        Some(Effect::Cut) => cut(),
        Some(Effect::DoneThenCut) => {
            drop(act::act(&shared, &method, &target, &queries, &body));
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
    shared.state().record.end(number, answer.status().as_u16());
    answer
}

/// Whether a call is a watch.
pub(super) fn is_watch(queries: &Queries) -> bool {
    queries.get("watch").is_some_and(|watch| watch == "true")
}

impl Target {
    fn read(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        // /api/v1/… or /apis/group/v1/…
        let group = match *parts.first()? {
            "api" => parts.drain(..2).next().map(|_| ""),
            "apis" => parts.drain(..3).nth(1),
            _ => None,
        }?;
        let namespace = if parts.len() > 2 && parts[0] == "namespaces" {
            parts.drain(..2).nth(1).unwrap_or_default()
        } else {
            ""
        };
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or_default().to_owned();
        Some(Self {
            group: group.to_owned(),
            namespace: namespace.to_owned(),
            plural: next(),
            name: next(),
            sub: next(),
        })
    }

    /// `POST jobs/a`, `LIST pods`, `GET pods/a/log`.
    fn words(&self, method: &Method, queries: &Queries, body: &Value) -> String {
        let verb = match method.as_str() {
            "GET" if is_watch(queries) => "WATCH",
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
        let words = format!("{verb} {}", parts.join("/"));
        if name.starts_with(PROBE) { format!("PROBE {}", self.plural) } else { words }
    }

    /// The same, in the words of a Role's rules.
    fn asked(&self, method: &Method, queries: &Queries) -> Asked {
        let verb = match (method.as_str(), self.name.is_empty()) {
            ("GET", _) if is_watch(queries) => "watch",
            ("GET", true) => "list",
            ("GET", false) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "deletecollection",
            _ => "delete",
        };
        let slash = if self.sub.is_empty() { "" } else { "/" };
        Asked {
            verb: verb.to_owned(),
            group: self.group.clone(),
            resource: format!("{}{slash}{}", self.plural, self.sub),
            namespace: self.namespace.clone(),
        }
    }
}

impl Shared {
    /// Uses up one effect of the first matching fault.
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

    /// Whether the header `Authorization` is the required one.
    fn lets_in(&self, authorization: &str) -> bool {
        let state = self.state();
        state.token.as_ref().is_none_or(|token| authorization == format!("Bearer {token}"))
    }
}
