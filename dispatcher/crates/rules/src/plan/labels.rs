//! Writes its identity into a Job: hashes as labels, which selectors can use, and original values as annotations.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::name::fit_label;
use super::{Identity, IncomingEvent, PlanError, Stage};

/// Label: [`Identity::hash`], on the Job and its Pods.
pub const IDENTITY_LABEL: &str = "dispatcher.knapscen.disco/identity";
/// Label: [`Identity::event_hash`], on the Job and its Pods.
pub const EVENT_LABEL: &str = "dispatcher.knapscen.disco/event";
/// Label: a `Delete` event has withdrawn the Job, which is about to be removed. Only on the Job, and never set by its
/// template.
pub const DELETED_LABEL: &str = "dispatcher.knapscen.disco/deleted";
/// Label: the trigger's name, shortened to a valid value, on the Job and its Pods.
const TRIGGER_LABEL: &str = "dispatcher.knapscen.disco/trigger";

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const ANNOTATION: &str = "dispatcher.knapscen.disco/";

/// Sets the final name and namespace.
pub(super) fn names(value: &mut Value, namespace: &str, name: &str) {
    if let Some(metadata) = child(value, "metadata") {
        metadata.insert("name".into(), name.into());
        metadata.insert("namespace".into(), namespace.into());
    }
}

/// Stamps the identity on a well-typed Job and its Pod template.
///
/// Labels that contain texts of the event (`filled`) are made valid.
pub(super) fn identity(
    value: &mut Value,
    identity: &Identity,
    event: &IncomingEvent,
    requested_name: &str,
    filled: &BTreeSet<String>,
) {
    let mut renamed = Map::new();
    let (hash, event_hash) = (identity.hash(), identity.event_hash());
    let stamp_labels = |labels: &mut Map<String, Value>| {
        labels.insert(IDENTITY_LABEL.into(), hash.as_str().into());
        labels.insert(EVENT_LABEL.into(), event_hash.as_str().into());
        labels.insert(TRIGGER_LABEL.into(), fit_label(&identity.trigger).into());
    };
    if let Some(labels) = child(value, "metadata").and_then(|metadata| nested(metadata, "labels")) {
        renamed.extend(fit_labels(labels, "/metadata/labels", filled));
        stamp_labels(labels);
        labels.remove(DELETED_LABEL);
        labels.entry(MANAGED_BY).or_insert_with(|| "knapscen-dispatcher".into());
    }
    let pod = child(value, "spec").and_then(|spec| nested(spec, "template"));
    if let Some(labels) =
        pod.and_then(|pod| nested(pod, "metadata")).and_then(|metadata| nested(metadata, "labels"))
    {
        renamed.extend(fit_labels(labels, "/spec/template/metadata/labels", filled));
        stamp_labels(labels);
    }
    let Some(metadata) = child(value, "metadata") else { return };
    let is_renamed = metadata.get("name").and_then(Value::as_str) != Some(requested_name);
    let Some(annotations) = nested(metadata, "annotations") else { return };
    let mut annotate =
        |name: &str, value: String| annotations.insert(format!("{ANNOTATION}{name}"), value.into());
    annotate("trigger", identity.trigger.clone());
    annotate("source", identity.source.clone());
    annotate("subject", identity.subject.clone());
    annotate("event-id", identity.event_id.clone());
    annotate("event-type", event.event_type().to_owned());
    if let Some(traceparent) = event.extension("traceparent") {
        annotate("traceparent", traceparent);
    }
    if identity.replay > 0 {
        annotate("replay", identity.replay.to_string());
    }
    if is_renamed {
        annotate("requested-name", requested_name.to_owned());
    }
    if !renamed.is_empty() {
        annotate("requested-labels", Value::Object(renamed).to_string());
    }
}

/// The most bytes of annotations that the API server accepts, all keys and values together.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// Refuses a Job whose original values are too long for annotations.
pub(super) fn check_size(job: &Value) -> Result<(), PlanError> {
    let annotations = job["metadata"]["annotations"].as_object().into_iter().flatten();
    let bytes: usize = annotations.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > MAX_ANNOTATIONS {
        let message = format!("{bytes} bytes are more than an object may have ({MAX_ANNOTATIONS})");
        return Err(PlanError::new(Stage::Check, message).at_field("metadata.annotations"));
    }
    Ok(())
}

/// Makes label values from the event valid. Returns the originals of those that were not.
fn fit_labels(
    labels: &mut Map<String, Value>,
    place: &str,
    filled: &BTreeSet<String>,
) -> Vec<(String, Value)> {
    let mut renamed = Vec::new();
    for (key, value) in labels.iter_mut() {
        let Some(text) = value.as_str() else { continue };
        let fitted = fit_label(text);
        let pointer = || format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
        if fitted != text && holds(filled, &pointer()) {
            renamed.push((key.clone(), std::mem::replace(value, fitted.into())));
        }
    }
    renamed
}

fn child<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    value.as_object_mut().and_then(|map| nested(map, key))
}

/// The object at `key`, created if it is absent or null.
fn nested<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let value = map.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

/// Whether a text of the event is, or may be, at this position or above it.
pub(super) fn holds(filled: &BTreeSet<String>, pointer: &str) -> bool {
    let above = pointer.match_indices('/').map(|(end, _)| &pointer[..end]);
    !filled.is_empty() && above.chain([pointer]).any(|place| filled.contains(place))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_template_can_say_that_its_job_is_taken_back() {
        let event = br#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;
        let event = IncomingEvent::parse("made", &[], event).unwrap();
        let text = || "x".to_owned();
        let whose =
            Identity { trigger: text(), source: text(), subject: text(), event_id: text(), replay: 0 };
        let mut job =
            json!({"metadata": {"labels": {DELETED_LABEL: "true", "app": "a"}}, "spec": {"template": {}}});
        identity(&mut job, &whose, &event, "j", &BTreeSet::new());
        let labels = &job["metadata"]["labels"];
        assert_eq!((labels.get(DELETED_LABEL), labels["app"].as_str()), (None, Some("a")));
    }
}
