//! The rules of planning; each test name is a sentence.

mod golden;
mod hostile;
mod oracle;
mod rules;
mod sveltos_run;
mod table;

use std::fs;

use serde_json::{Value, json};

use super::{Action, Cluster, IncomingEvent, PlannedJob, Policy, TriggerPlan, plan};
use crate::manifest::{Manifests, load};

/// Manifests written to a folder and loaded.
fn manifests(texts: &[&str]) -> Manifests {
    let dir = tempfile::tempdir().unwrap();
    for (index, text) in texts.iter().enumerate() {
        fs::write(dir.path().join(format!("{index}.yaml")), text).unwrap();
    }
    load(dir.path()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// An EventSource `s` that matches every event.
const SOURCE: &str = "{apiVersion: lib.projectsveltos.io/v1beta1, kind: EventSource, metadata: {name: s}, \
                      spec: {messagingMatchCriteria: [{subject: .}]}}";

/// An EventTrigger `t` from `s` to ConfigMap `default/c`, with more fields of its spec.
fn trigger(fields: &str) -> String {
    format!(
        "{{apiVersion: lib.projectsveltos.io/v1beta1, kind: EventTrigger, metadata: {{name: t}}, spec: {{\
         sourceClusterSelector: {{matchLabels: {{role: deploy}}}}, eventSourceName: s, oneForEvent: true, \
         policyRefs: [{{kind: ConfigMap, namespace: default, name: c}}]{fields}}}}}"
    )
}

/// ConfigMap `default/c` with one template.
fn template(text: &str) -> String {
    let annotations = json!({"projectsveltos.io/instantiate": ""});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "annotations": annotations},
        "data": {"job.yaml": text}})
    .to_string()
}

/// A Job template with this name and these lines in `env`.
fn job(name: &str, env: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\nspec:\n  template:\n    spec:\n      \
         restartPolicy: Never\n      containers:\n      - name: main\n        image: acme/image:1\n        env:\n{env}"
    )
}

#[expect(clippy::needless_pass_by_value, reason = "reads better at the calls")]
fn event(fields: Value) -> IncomingEvent {
    let mut event = json!({"specversion": "1.0", "id": "i", "source": "knapscen.disco", "type": "t", "subject": "s-1",
        "datacontenttype": "application/json", "data": {"name": "Acme"}});
    for (key, value) in fields.as_object().unwrap() {
        event[key] = value.clone();
    }
    IncomingEvent::parse("a-subject", &[], event.to_string().as_bytes()).unwrap()
}

fn plan_all(manifests: &Manifests, event: &IncomingEvent) -> Vec<TriggerPlan> {
    plan(event, manifests, &Cluster::default(), &Policy::default())
}

/// The only plan from source, trigger and this template.
fn plan_one(template_text: &str, event: &IncomingEvent) -> TriggerPlan {
    let set = manifests(&[SOURCE, &trigger(""), &template(template_text)]);
    plan_all(&set, event).remove(0)
}

fn jobs(plan: TriggerPlan) -> Vec<PlannedJob> {
    match plan.outcome {
        Ok(Action::Create { jobs, .. }) => jobs,
        other => panic!("{other:?}"),
    }
}

fn fault(plan: TriggerPlan) -> String {
    plan.outcome.unwrap_err().to_string()
}
