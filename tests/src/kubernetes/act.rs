//! What each verb does to the objects, and the two kinds of access reviews.

use std::sync::Arc;

use axum::http::Method;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::follow::watch;
use super::respond::{self, failure, missing};
use super::serve::{Queries, Target, is_watch};
use super::{Shared, rules};

pub(super) fn act(
    shared: &Arc<Shared>,
    method: &Method,
    target: &Target,
    queries: &Queries,
    body: &Value,
) -> Response {
    match method.as_str() {
        "GET" if is_watch(queries) => watch(shared, target, queries),
        "GET" if target.name.is_empty() => list(shared, target, queries),
        "GET" if target.sub == "log" => log(shared, target, queries),
        "GET" => get(shared, target),
        "POST" if target.plural == "selfsubjectaccessreviews" => {
            let mut review = body.clone();
            review["status"] = json!({"allowed": true});
            respond::object(201, &review)
        }
        "POST" if target.sub == "token" => token(shared, target),
        "POST" => create(shared, target, queries, body),
        "PATCH" => patch(shared, target, body),
        "DELETE" => delete(shared, target, body),
        _ => failure(405, "MethodNotAllowed", "the server does not allow this method"),
    }
}

fn get(shared: &Shared, target: &Target) -> Response {
    match shared.state().store.get(&target.plural, &target.namespace, &target.name) {
        Some(object) => respond::object(200, object),
        None => missing(target),
    }
}

/// The Hand writes it into an annotation of the Pod. One of several containers must be named, and a waiting one has
/// no output.
fn log(shared: &Shared, target: &Target, queries: &Queries) -> Response {
    let Some(pod) = shared.state().store.get("pods", &target.namespace, &target.name).cloned() else {
        return missing(target);
    };
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let names: Vec<_> = containers.filter_map(|container| container["name"].as_str()).collect();
    let container = match queries.get("container") {
        Some(name) if names.contains(&name.as_str()) => name.as_str(),
        Some(name) => {
            let message = format!("container {name} is not valid for pod {}", target.name);
            return failure(400, "BadRequest", &message);
        }
        None if names.len() > 1 => {
            let message = format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                target.name,
                names.join(" ")
            );
            return failure(400, "BadRequest", &message);
        }
        None => names.first().copied().unwrap_or_default(),
    };
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let waiting = statuses
        .filter(|status| status["name"] == container)
        .find_map(|status| status["state"]["waiting"]["reason"].as_str());
    if let Some(reason) = waiting {
        let message =
            format!("container \"{container}\" in pod \"{}\" is waiting to start: {reason}", target.name);
        return failure(400, "BadRequest", &message);
    }
    let log = &pod["metadata"]["annotations"]["tests/log"];
    log.as_str().unwrap_or_default().to_owned().into_response()
}

/// A token for a service account; from now on every call needs a token.
fn token(shared: &Shared, target: &Target) -> Response {
    let mut state = shared.state();
    if state.store.get(&target.plural, &target.namespace, &target.name).is_none() {
        drop(state);
        return missing(target);
    }
    let token = uuid::Uuid::new_v4().to_string();
    state.token = Some(token.clone());
    drop(state);
    respond::object(201, &json!({"kind": "TokenRequest", "status": {"token": token}}))
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
    respond::object(200, &answer)
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
    if shared.state().of_sveltos {
        rules::complete_as_sveltos(&target.plural, &mut object);
    }
    let by = queries.get("fieldManager").cloned().unwrap_or_default();
    object["metadata"]["managedFields"] = json!([{"manager": by, "operation": "Update"}]);
    // Check and write under one lock: of two calls at the same time, the second one finds the first one's object.
    let mut state = shared.state();
    if state.store.get(&target.plural, &target.namespace, &name).is_some() {
        drop(state);
        let message = format!("{}.batch \"{name}\" already exists", target.plural);
        return failure(409, "AlreadyExists", &message);
    }
    if queries.contains_key("dryRun") {
        drop(state);
        rules::complete_job(&mut object, &json!("00000000-0000-0000-0000-000000000000"));
        return respond::object(201, &object);
    }
    state.store.put(&target.plural, &target.namespace, &name, object);
    let mut made = state.store.get(&target.plural, &target.namespace, &name).cloned().unwrap_or_default();
    if target.plural == "jobs" {
        // Its version at creation contains the uid, as in one transaction.
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
    respond::object(201, &made)
}

fn patch(shared: &Shared, target: &Target, body: &Value) -> Response {
    let mut state = shared.state();
    let Some(old) = state.store.get(&target.plural, &target.namespace, &target.name).cloned() else {
        drop(state);
        return missing(target);
    };
    let (wanted, has) = (&body["metadata"]["resourceVersion"], &old["metadata"]["resourceVersion"]);
    if !wanted.is_null() && wanted != has {
        drop(state);
        return respond::changed(target);
    }
    let mut new = old.clone();
    let mut body = if target.sub == "status" { json!({"status": body["status"]}) } else { body.clone() };
    if state.of_sveltos && target.plural.starts_with("event") {
        body["status"].as_object_mut().map(|status| status.remove("conditions"));
    }
    merge(&mut new, &body);
    if target.plural == "jobs"
        && target.sub == "status"
        && let Err(message) = rules::check_status(&old, &new)
    {
        return failure(422, "Invalid", &format!("Job.batch \"{}\" is invalid: {message}", target.name));
    }
    if new == old {
        drop(state);
        return respond::object(200, &old);
    }
    state.store.put(&target.plural, &target.namespace, &target.name, new.clone());
    let gone = !old["metadata"]["deletionTimestamp"].is_null()
        && new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    if gone {
        state.store.remove(&target.plural, &target.namespace, &target.name);
    }
    drop(state);
    shared.changed();
    respond::object(200, &new)
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
        return respond::object(200, &json!({"kind": "List", "apiVersion": "v1", "items": all}));
    }
    let Some(object) = state.store.get(&target.plural, &target.namespace, &target.name).cloned() else {
        drop(state);
        return missing(target);
    };
    for field in ["uid", "resourceVersion"] {
        let wanted = &body["preconditions"][field];
        if !wanted.is_null() && *wanted != object["metadata"][field] {
            return respond::changed(target);
        }
    }
    if target.plural == "jobs" && body["propagationPolicy"] != "Background" {
        // Kubernetes' unwanted default for Jobs: their Pods stay.
        state.store.orphan(&object["metadata"]["uid"]);
    }
    let removed = state.store.remove(&target.plural, &target.namespace, &target.name);
    drop(state);
    shared.changed();
    respond::object(200, &removed.unwrap_or_default())
}

/// Whether label and field selectors match.
pub(super) fn fits(object: &Value, queries: &Queries) -> bool {
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
