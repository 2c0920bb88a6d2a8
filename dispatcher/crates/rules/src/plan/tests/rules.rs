//! Matching, actions, references, identity.

use super::*;
use crate::plan::{EVENT_LABEL, IDENTITY_LABEL, explain};

const PLAIN: &str = "        - {name: NAME, value: \"{{ .CloudEvent.data.name }}\"}";

fn source(name: &str, criteria: &str) -> String {
    format!(
        "{{apiVersion: lib.projectsveltos.io/v1beta1, kind: EventSource, metadata: {{name: {name}}}, \
         spec: {{collectResources: true, messagingMatchCriteria: {criteria}}}}}"
    )
}

fn fires(criteria: &str, event: &IncomingEvent) -> usize {
    let set = manifests(&[&source("s", criteria), &trigger(""), &template(&job("j", PLAIN))]);
    plan_all(&set, event).len()
}

#[test]
fn fields_are_anded_unanchored_and_empty_ones_match_all() {
    let event = event(json!({"type": "disco.knapscen.item.saved"}));
    assert_eq!(
        fires("[{subject: subj, cloudEventSource: knapscen, cloudEventType: 'item\\.saved$'}]", &event),
        1
    );
    assert_eq!(fires("[{subject: subj, cloudEventType: nope}]", &event), 0);
    assert_eq!(fires("[{subject: '', cloudEventSubject: ''}]", &event), 1);
    assert_eq!(fires("[{cloudEventSubject: '^s-1$'}]", &event), 1);
    assert_eq!(fires("[]", &event), 0);
}

#[test]
fn criteria_are_ored_and_an_event_counts_once_per_source() {
    let event = event(json!({}));
    assert_eq!(fires("[{subject: nope}, {subject: a-subject}]", &event), 1);
    assert_eq!(fires("[{subject: a}, {subject: subject}, {}]", &event), 1);
}

#[test]
fn an_invalid_expression_never_matches_and_spoils_nothing_else() {
    let event = event(json!({}));
    assert_eq!(fires("[{subject: '('}]", &event), 0);
    assert_eq!(fires("[{subject: '('}, {subject: a}]", &event), 1);
}

#[test]
fn several_sources_and_several_triggers_each_give_their_plan() {
    let second = trigger("").replace("{name: t}", "{name: t2}");
    let third =
        trigger("").replace("{name: t}", "{name: t3}").replace("eventSourceName: s", "eventSourceName: s2");
    let set = manifests(&[
        SOURCE,
        &source("s2", "[{subject: a}]"),
        &trigger(""),
        &second,
        &third,
        &template(&job("j", PLAIN)),
    ]);
    let names: Vec<_> = plan_all(&set, &event(json!({}))).into_iter().map(|plan| plan.trigger).collect();
    assert_eq!(names, ["t", "t2", "t3"]);
}

#[test]
fn a_trigger_fires_only_on_clusters_that_its_selector_matches() {
    let with = |selector: &str| {
        let trigger = trigger("").replace("{matchLabels: {role: deploy}}", selector);
        let set = manifests(&[SOURCE, &trigger, &template(&job("j", PLAIN))]);
        plan_all(&set, &event(json!({}))).len()
    };
    assert_eq!(with("{matchLabels: {role: deploy}}"), 1);
    assert_eq!(with("{matchLabels: {role: other}}"), 0);
    assert_eq!(with("{}"), 0);
    assert_eq!(with("{matchExpressions: [{key: role, operator: In, values: [x, deploy]}]}"), 1);
    assert_eq!(with("{matchExpressions: [{key: zone, operator: Exists}]}"), 0);
    assert_eq!(with("{matchExpressions: [{key: zone, operator: DoesNotExist}]}"), 1);
    assert_eq!(with("{matchExpressions: [{key: role, operator: NotIn, values: [deploy]}]}"), 0);
}

#[test]
fn the_name_of_the_source_is_a_template_over_the_cluster_alone() {
    let with = |name: &str| {
        let trigger = trigger("").replace("eventSourceName: s", &format!("eventSourceName: '{name}'"));
        let set =
            manifests(&[SOURCE, &source("mgmt-s", "[{subject: a}]"), &trigger, &template(&job("j", PLAIN))]);
        plan_all(&set, &event(json!({}))).len()
    };
    assert_eq!(with("{{ .Cluster.metadata.name }}-s"), 1);
    assert_eq!(with("{{ .CloudEvent.data.name }}"), 0);
}

fn act(action: &str, event: &IncomingEvent) -> Result<Action, String> {
    let quoted = serde_json::to_string(action).unwrap();
    let set =
        manifests(&[SOURCE, &trigger(&format!(", cloudEventAction: {quoted}")), &template(&job("j", PLAIN))]);
    plan_all(&set, event).remove(0).outcome.map_err(|error| error.to_string())
}

#[test]
fn the_action_is_create_by_default_and_may_be_a_template() {
    let event = event(json!({}));
    assert!(matches!(plan_one(&job("j", PLAIN), &event).outcome, Ok(Action::Create { .. })));
    assert!(matches!(act("Create", &event), Ok(Action::Create { .. })));
    assert!(matches!(
        act("{{ if eq .CloudEvent.data.name \"Acme\" }}Delete{{ else }}Create{{ end }}", &event),
        Ok(Action::Delete { .. })
    ));
}

#[test]
fn an_empty_action_skips_the_event() {
    let event = event(json!({}));
    assert!(matches!(act("", &event), Ok(Action::Skip(_))));
    assert!(matches!(
        act("{{ if eq .CloudEvent.data.name \"x\" }}Create{{ end }}", &event),
        Ok(Action::Skip(_))
    ));
}

#[test]
fn any_other_action_is_an_error_of_that_event_alone() {
    for action in
        ["{{ \"create\" }}", "{{ \"\" }} Create", "{{ \"Create\" }}\n", "{{ .CloudEvent.data.name }}"]
    {
        let error = act(action, &event(json!({}))).unwrap_err();
        assert!(error.contains("neither Create nor Delete"), "{error}");
        assert!(!error.contains("Acme"), "{error}");
    }
    assert!(act("{{ .CloudEvent.data.missing }}", &event(json!({}))).unwrap_err().contains("missing"));
}

#[test]
fn delete_renders_no_job_and_names_the_identity() {
    let set = manifests(&[
        SOURCE,
        &trigger(", cloudEventAction: Delete"),
        &template("{{ .CloudEvent.data.missing }}"),
    ]);
    let plan = plan_all(&set, &event(json!({}))).remove(0);
    assert!(matches!(plan.outcome, Ok(Action::Delete { identity }) if identity == plan.identity));
}

#[test]
fn one_failing_event_does_not_concern_another() {
    let set = manifests(&[
        SOURCE,
        &trigger(""),
        &template(&job("j", "        - {name: A, value: \"{{ .CloudEvent.data.extra }}\"}")),
    ]);
    assert!(fault(plan_all(&set, &event(json!({}))).remove(0)).contains("extra"));
    let good = event(json!({"data": {"extra": "x"}}));
    assert_eq!(jobs(plan_all(&set, &good).remove(0)).len(), 1);
}

#[test]
fn names_of_references_are_templates_over_the_event() {
    let trigger = trigger("").replace("name: c}", "name: 'c-{{ .CloudEvent.data.name }}'}");
    let map = template(&job("j", PLAIN)).replace("\"name\":\"c\"", "\"name\":\"c-Acme\"");
    let set = manifests(&[SOURCE, &trigger, &map]);
    assert_eq!(jobs(plan_all(&set, &event(json!({}))).remove(0)).len(), 1);
    let error = fault(plan_all(&set, &event(json!({"data": {"name": "Secret Corp"}}))).remove(0));
    assert!(error.contains("there is no ConfigMap") && !error.contains("Secret Corp"), "{error}");
}

#[test]
fn an_empty_namespace_of_a_reference_is_the_clusters_own() {
    let trigger = trigger("").replace("namespace: default, ", "");
    let elsewhere = template(&job("j", PLAIN));
    let own = elsewhere.replace("\"name\":\"c\"", "\"name\":\"c\",\"namespace\":\"mgmt\"");
    assert!(
        fault(plan_all(&manifests(&[SOURCE, &trigger, &elsewhere]), &event(json!({}))).remove(0))
            .contains("mgmt/c")
    );
    assert_eq!(jobs(plan_all(&manifests(&[SOURCE, &trigger, &own]), &event(json!({}))).remove(0)).len(), 1);
}

#[test]
fn a_secret_of_sveltos_type_holds_texts_as_a_config_map_does() {
    let by_namespace = trigger("").replace(
        "{kind: ConfigMap, namespace: default, name: c}",
        "{kind: Secret, namespace: 'of-{{ .CloudEvent.data.name | lower }}', name: c}",
    );
    let text = job("j", PLAIN);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "addons.projectsveltos.io/cluster-profile",
        "metadata": {"name": "c", "namespace": "of-acme", "annotations": {"projectsveltos.io/instantiate": "ok"}},
        "stringData": {"j": text}})
    .to_string();
    // A ConfigMap with the same name is another object.
    let other = template("{{ fail \"not this one\" }}")
        .replace("\"name\":\"c\"", "\"name\":\"c\",\"namespace\":\"of-acme\"");
    let set = manifests(&[SOURCE, &by_namespace, &secret, &other]);
    assert_eq!(jobs(plan_all(&set, &event(json!({}))).remove(0)).len(), 1);
}

#[test]
fn templates_see_the_event_and_the_cluster_and_nothing_else() {
    let seen = |expression: &str| {
        let text = job("j", &format!("        - {{name: A, value: '{{{{ {expression} }}}}'}}"));
        plan_one(&text, &event(json!({}))).outcome.is_ok()
    };
    for known in [
        ".CloudEvent.data.name",
        ".Cluster.kind",
        ".Cluster.metadata.name",
        ".Cluster.metadata.namespace",
        ".Cluster.metadata.labels.role",
        ".MatchingResource.Name",
        "kindOf .Resource",
        "len .",
    ] {
        assert!(seen(known), "{known}");
    }
    for unknown in [
        ".CloudEvents",
        ".Resources",
        ".Values",
        ".Cluster.spec",
        ".Resource.metadata",
        ".MatchingResource.x",
    ] {
        assert!(!seen(unknown), "{unknown}");
    }
    assert!(seen("eq (len .) 4"));
}

#[test]
fn without_the_annotation_the_text_is_taken_as_it_stands() {
    let text = job("j", "        - {name: A, value: \"$(HOME) as it is\"}");
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"j": text}})
            .to_string();
    let set = manifests(&[SOURCE, &trigger(""), &map]);
    let job = jobs(plan_all(&set, &event(json!({}))).remove(0)).remove(0);
    assert_eq!(
        job.manifest.value().pointer("/spec/template/spec/containers/0/env/0/value").unwrap(),
        "$(HOME) as it is"
    );
}

#[test]
fn every_key_and_every_document_is_used_and_blank_ones_are_skipped() {
    let many = format!("# top\n---\n{}\n---\nnull\n---\n{}\n--- \n# end\n", job("a", PLAIN), job("b", PLAIN));
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "c", "annotations": {"projectsveltos.io/instantiate": "any"}},
        "data": {"1": many, "2": job("z", PLAIN), "3": "", "4": "# only a comment\n"}});
    let set = manifests(&[SOURCE, &trigger(""), &map.to_string()]);
    let names: Vec<_> =
        jobs(plan_all(&set, &event(json!({}))).remove(0)).into_iter().map(|job| job.name).collect();
    assert_eq!(names, ["a", "b", "z"]);
}

#[test]
fn the_same_job_rendered_twice_is_an_error() {
    let text = format!("{}\n---\n{}\n", job("a", PLAIN), job("a", PLAIN));
    assert!(fault(plan_one(&text, &event(json!({})))).contains("rendered twice"));
}

#[test]
fn a_job_without_a_namespace_goes_to_default() {
    assert_eq!(jobs(plan_one(&job("j", PLAIN), &event(json!({})))).remove(0).namespace, "default");
}

#[test]
fn the_identity_is_trigger_source_and_subject_and_a_delivery_is_source_and_id() {
    let identity = |fields: Value| plan_one(&job("j", PLAIN), &event(fields)).identity;
    let one = identity(json!({}));
    let other_id = identity(json!({"id": "i2"}));
    assert_eq!(one.hash(), other_id.hash());
    assert_ne!(one.event_hash(), other_id.event_hash());
    assert_ne!(one.hash(), identity(json!({"subject": "s-2"})).hash());
    assert_ne!(one.hash(), identity(json!({"source": "elsewhere"})).hash());
    let replayed = plan_one(&job("j", PLAIN), &event(json!({})).replayed(1)).identity;
    assert_eq!(one.hash(), replayed.hash());
    assert_ne!(one.event_hash(), replayed.event_hash());
}

#[test]
fn labels_hold_hashes_and_annotations_the_true_values() {
    let plan = plan_one(&job("j", PLAIN), &event(json!({"subject": "john smith:@x/", "id": "a b"})));
    let (hash, event_hash) = (plan.identity.hash(), plan.identity.event_hash());
    let job = jobs(plan).remove(0).manifest.value();
    for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
        let labels = job.pointer(labels).unwrap();
        assert_eq!((&labels[IDENTITY_LABEL], &labels[EVENT_LABEL]), (&json!(hash), &json!(event_hash)));
    }
    let annotations = &job["metadata"]["annotations"];
    assert_eq!(annotations["dispatcher.knapscen.disco/subject"], "john smith:@x/");
    assert_eq!(annotations["dispatcher.knapscen.disco/event-id"], "a b");
    assert_eq!(annotations["dispatcher.knapscen.disco/trigger"], "t");
}

#[test]
fn the_explanation_says_which_field_did_not_match_and_why_a_trigger_is_still() {
    let other = trigger("").replace("{name: t}", "{name: o}").replace("role: deploy", "role: other");
    let set = manifests(&[
        &source("s", "[{subject: nope, cloudEventType: '('}]"),
        &trigger(""),
        &other,
        &template(&job("j", PLAIN)),
    ]);
    let explanation = explain(&event(json!({})), &set, &Cluster::default(), &Policy::default());
    let mismatches = &explanation.sources[0].criteria[0].mismatches;
    assert_eq!((mismatches[0].field, mismatches[0].value.as_str()), ("subject", "a-subject"));
    assert_eq!(mismatches[1].fault.as_deref(), Some("unclosed group"));
    let reasons: Vec<_> =
        explanation.triggers.iter().map(|one| one.outcome.as_ref().unwrap_err().as_str()).collect();
    assert_eq!(reasons[0], "EventSource s does not match");
    assert_eq!(reasons[1], "sourceClusterSelector: wants role to be other, the cluster has role=deploy");
}
