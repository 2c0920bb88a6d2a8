//! Actions and sync modes of triggers, and events whose failure does not affect others.

use super::*;

/// The shipped manifests of `customer-saved`, with one text of one file replaced.
fn rules(file: &str, from: &str, to: &str) -> Rules {
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/customer-saved");
    for name in ["eventsource.yaml", "configmap.yaml", "eventtrigger.yaml"] {
        let text = std::fs::read_to_string(shipped.join(name)).unwrap();
        let changed = if name == file { text.replace(from, to) } else { text.clone() };
        assert!(name != file || changed != text, "{file} has no {from}");
        std::fs::write(folder.path().join(name), changed).unwrap();
    }
    Rules::new(manifest::load(folder.path()).unwrap())
}

fn trigger(from: &str, to: &str) -> Rules {
    rules("eventtrigger.yaml", from, to)
}

#[tokio::test]
async fn delete_removes_what_the_trigger_made_and_runs_nothing() {
    let by_tier = "'{{ if eq .CloudEvent.data.subscription_tier \"gone\" }}Delete{{ else }}Create{{ end }}'";
    let ground =
        Ground::with(trigger("cloudEventAction: Create", &format!("cloudEventAction: {by_tier}")), [], 20)
            .await;
    ground.publish("customer-saved", event("e1")).await;
    let mut gone = event("e2");
    gone["data"]["subscription_tier"] = json!("gone");
    ground.publish("customer-saved", gone).await;
    let (backend, metrics, letters) = ground.settled().await;
    let (started, deleted) = (backend.started(), backend.deleted());
    assert_eq!((started.len(), deleted.len(), letters.len()), (1, 1, 0));
    assert_eq!(metrics.jobs_ended(TRIGGER, JobOutcome::Deleted), 1);
    assert_eq!(started[0].identity.hash(), deleted[0].hash());
    assert_eq!(started[0].identity.event_id, "e1");
}

#[tokio::test]
async fn an_empty_action_runs_nothing_and_is_counted() {
    let by_tier = "'{{ if eq .CloudEvent.data.subscription_tier \"far-out\" }}Create{{ end }}'";
    let ground =
        Ground::with(trigger("cloudEventAction: Create", &format!("cloudEventAction: {by_tier}")), [], 20)
            .await;
    ground.publish("customer-saved", event("e1")).await;
    let (backend, metrics, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (0, 0));
    assert_eq!(metrics.jobs_ended(TRIGGER, JobOutcome::Skipped), 1);
}

#[tokio::test]
async fn a_dry_run_makes_nothing() {
    let ground = Ground::with(trigger("syncMode: Continuous", "syncMode: DryRun"), [], 20).await;
    ground.publish("customer-saved", event("e1")).await;
    let (backend, metrics, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), backend.deleted().len(), letters.len()), (0, 0, 0));
    assert_eq!(metrics.jobs_ended(TRIGGER, JobOutcome::Skipped), 1);
}

#[tokio::test]
async fn once_per_identity_and_drift_detection_reach_the_backend_as_what_they_mean() {
    for (mode, again) in [
        ("OneTime", EndedJobPolicy::Keep),
        ("Continuous", EndedJobPolicy::Replace),
        ("ContinuousWithDriftDetection", EndedJobPolicy::Replace),
    ] {
        let ground =
            Ground::with(trigger("syncMode: Continuous", &format!("syncMode: {mode}\n")), [], 20).await;
        ground.publish("customer-saved", event("e1")).await;
        let (backend, _, _) = ground.settled().await;
        assert_eq!(backend.policies(), [again], "{mode}");
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_rendered_is_a_dead_letter_and_the_next_one_runs() {
    let rules = rules("configmap.yaml", "{{ get $data \"name\" | quote }}", "{{ $data.name | quote }}");
    let ground = Ground::with(rules, [], 20).await;
    let mut bad = event("bad");
    bad["data"] = json!({});
    ground.publish("customer-saved", bad).await;
    ground.publish("customer-saved", event("good")).await;
    let seen = Arc::clone(&ground.seen);
    let (backend, metrics, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (1, 1));
    assert_eq!(backend.started()[0].identity.event_id, "good");
    let seen = seen.lock();
    let refused = seen.iter().find(|run| run.event.id == "bad").expect("those who watch are told of it");
    let State::Ended { started_at: None, outcome: Outcome::Failed(Failure { class, message, .. }), .. } =
        &refused.state
    else {
        panic!("{refused:?}")
    };
    assert_eq!((refused.trigger.as_str(), *class), (TRIGGER, FailureClass::PlanRender));
    assert!(message.contains("map has no entry for key \"name\""), "{message}");
    let info = &letters[0].info;
    assert_eq!((info.event_id.as_str(), info.failure.class.name()), ("bad", "Plan-render"));
    assert!(info.failure.message.contains("map has no entry for key \"name\""), "{}", info.failure.message);
    assert_eq!(metrics.jobs_ended(TRIGGER, JobOutcome::Refused), 1);
}

#[tokio::test]
async fn an_event_whose_text_is_missing_is_a_dead_letter_and_the_next_one_runs() {
    let ground = Ground::with(trigger(NAME, NAME_BY_EVENT), [], 2).await;
    for (id, job) in [("bad", "absent"), ("good", "saved")] {
        ground.publish("customer-saved", with_job(id, job)).await;
    }
    let (backend, metrics, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (1, 1));
    let (class, reason) = (letters[0].info.failure.class, &letters[0].info.failure.message);
    assert_eq!(class, FailureClass::PlanMissing);
    assert!(
        reason.contains("given up after 2 attempts") && reason.contains("there is no ConfigMap"),
        "{reason}"
    );
    assert_eq!(metrics.jobs_ended(TRIGGER, JobOutcome::Refused), 1, "refused once, at the end");
}

const NAME: &str = "name: customer-saved-job";
const NAME_BY_EVENT: &str = "name: 'customer-{{ .CloudEvent.data.job }}-job'";

fn with_job(id: &str, job: &str) -> Value {
    let mut event = event(id);
    event["data"]["job"] = json!(job);
    event
}

#[tokio::test]
async fn an_event_whose_text_comes_later_runs_then() {
    let rules = trigger(NAME, NAME_BY_EVENT);
    let ground = Ground::with(rules.clone(), [], 20).await;
    ground.publish("customer-saved", with_job("early", "late")).await;
    let metrics = ground.metrics.clone();
    // It was planned once.
    ground
        .until(|_| {
            metrics.text().contains("dispatcher_events_matched_total{trigger=\"customer-saved-trigger\"} 1")
        })
        .await;
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/customer-saved/configmap.yaml");
    let late = std::fs::read_to_string(shipped).unwrap().replace("customer-saved-job", "customer-late-job");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("late.yaml"), late).unwrap();
    let mut set = (*rules.current()).clone();
    set.config_maps.extend(manifest::load(folder.path()).unwrap().config_maps);
    rules.take("here", Ok(set));
    let (backend, _, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (1, 0));
}

#[tokio::test]
async fn what_is_not_rendered_any_more_for_an_identity_goes() {
    let name = "{{ printf \"customer-saved-%s\" $subject | lower | quote }}";
    let tier = "{{ printf \"%s-%s\" (get $data \"subscription_tier\") $subject | lower | quote }}";
    let ground = Ground::with(rules("configmap.yaml", name, tier), [], 20).await;
    ground.publish("customer-saved", event("e1")).await;
    let mut other = event("e2");
    other["data"]["subscription_tier"] = json!("groovy");
    ground.publish("customer-saved", other).await;
    let (backend, _, letters) = ground.settled().await;
    let kept: Vec<_> = backend.pruned().into_iter().flatten().map(|(_, name)| name).collect();
    let subject = "550e8400-e29b-41d4-a716-446655440000";
    assert_eq!(kept.len(), 2);
    assert!(
        kept.contains(&format!("basic-{subject}")) && kept.contains(&format!("groovy-{subject}")),
        "{kept:?}"
    );
    assert_eq!(letters.len(), 0);
}

#[tokio::test]
async fn where_the_same_job_is_always_rendered_nothing_is_looked_for() {
    let ground = Ground::start([], 20).await;
    ground.publish("customer-saved", event("e1")).await;
    let (backend, _, _) = ground.settled().await;
    assert_eq!((backend.started().len(), backend.pruned().len()), (1, 0));
}

#[tokio::test]
async fn after_a_change_of_the_manifests_only_jobs_of_other_names_are_looked_for() {
    let name = "{{ printf \"customer-saved-%s\" $subject | lower | quote }}";
    let renamed = "{{ printf \"customer-kept-%s\" $subject | lower | quote }}";
    for (from, to, expected) in [("backoffLimit: 5", "backoffLimit: 4", 0), (name, renamed, 1)] {
        let rules = rules("configmap.yaml", "backoffLimit: 5", "backoffLimit: 6");
        let changed = self::rules("configmap.yaml", from, to);
        rules.take("a test", Ok((*changed.current()).clone()));
        let ground = Ground::with(rules, [], 20).await;
        ground.publish("customer-saved", event("e1")).await;
        let (backend, _, _) = ground.settled().await;
        assert_eq!((backend.started().len(), backend.pruned().len()), (1, expected), "{to}");
    }
}

#[tokio::test]
async fn a_job_that_failed_leaves_what_was_there() {
    let rules = rules("configmap.yaml", "{{- $event :=", "{{ if true }}{{ end }}{{- $event :=");
    let ground = Ground::with(rules, [failed("bad")], 20).await;
    ground.publish("customer-saved", event("e1")).await;
    ground.publish("customer-saved", event("e2")).await;
    let (backend, _, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), backend.pruned().len(), letters.len()), (2, 1, 1));
}
