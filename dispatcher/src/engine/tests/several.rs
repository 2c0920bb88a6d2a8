//! Events at the same time, and manifests that change meanwhile.

use std::collections::BTreeMap;

use super::*;
use crate::plan::Needs;
use backend::Process;
use backend::process::{Absent, Images, Settings as ProcessSettings};
use backend::{Source, Sources};

/// An event with the same id about another customer.
fn of_customer(number: u64) -> Value {
    let mut event = event("test-event-001");
    event["subject"] = json!(format!("550e8400-e29b-41d4-a716-44665544000{number}"));
    event
}

#[tokio::test]
async fn one_event_id_used_for_two_customers_runs_for_both_even_while_one_is_tried_again() {
    let ground = Ground::start([try_again("away")], 20).await;
    ground.publish("customer-saved", of_customer(1)).await;
    ground.publish("customer-saved", of_customer(2)).await;
    let (backend, _, letters) = ground.settled().await;
    let mut names: Vec<_> = backend.started().iter().map(|job| job.identity.subject.clone()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), backend.started().len(), letters.len()), (2, 3, 0));
}

#[tokio::test]
async fn a_changed_folder_with_an_error_is_refused_and_the_set_before_stays_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/customer-saved");
    for name in ["eventsource.yaml", "configmap.yaml", "eventtrigger.yaml"] {
        std::fs::copy(shipped.join(name), folder.path().join(name)).unwrap();
    }
    let rules =
        crate::manifest_source::rules::load(folder.path().to_owned(), Needs::default()).await.unwrap();
    let version = rules.current().version.clone();
    let (stopper, stop) = channel();
    let following = {
        let (rules, path) = (rules.clone(), folder.path().to_owned());
        tokio::spawn(async move { rules.follow(&path, &stop).await })
    };
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        for _ in 0..1000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}");
    };
    let trigger = folder.path().join("eventtrigger.yaml");
    let good = std::fs::read_to_string(&trigger).unwrap();
    std::fs::write(&trigger, good.replace("eventSourceName: customer-saved", "eventSourceName: absent"))
        .unwrap();
    until("refused", &|| rules.state().refused.is_some()).await;
    assert!(rules.state().refused.unwrap().contains("eventtrigger.yaml"));
    let source = || rules.current().triggers[0].source_name.literal().map(str::to_owned);
    assert_eq!(source().as_deref(), Some("customer-saved"));
    std::fs::write(&trigger, good + "# changed\n").unwrap();
    until("in force", &|| rules.state().refused.is_none()).await;
    assert_ne!(rules.current().version, version);
    assert!(rules.sets().1.iter().any(|set| set.version == version));
    stopper.drain();
    following.await.unwrap();
}

#[tokio::test]
async fn a_trigger_that_hangs_does_not_stop_another_subject() {
    let folder = tempfile::tempdir().unwrap();
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let bin_dir = folder.path().join("bin");
    std::fs::create_dir(&bin_dir).unwrap();
    // The customers' Jobs hang, the users' are quick; both are real processes.
    let image = |name: &str, script: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = bin_dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    image("save-customer", "exec sleep 60");
    image("save-user", "exit 0");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "A=1\n").unwrap();
    let backend = Process::open(ProcessSettings {
        images: Images { bin_dir, overrides: BTreeMap::new() },
        sources: Sources {
            secrets: BTreeMap::from([("knapscen-config".to_owned(), Source(secret))]),
            ..Sources::default()
        },
        state_dir: folder.path().join("state"),
        backoff: Duration::from_millis(1),
        absent: Absent::new(Duration::ZERO),
        sink: None,
        leaves_jobs: true,
    })
    .unwrap();
    let bus =
        Bus::open(&BusSettings::embedded(folder.path().join("queue.db")), Access::Consume).await.unwrap();
    let rules = Rules::new(manifest::load(&events).unwrap());
    bus.ensure_subjects(&rules.subjects()).await.unwrap();
    let publish = async |subject: &str, event: Value| {
        let message =
            Message { subject: subject.to_owned(), payload: event.to_string().into(), ..Message::default() };
        bus.publish(message).await.unwrap();
    };
    for number in 0..8 {
        publish("customer-saved", of_customer(number)).await;
    }
    let metrics = Metrics::default();
    let settings = Settings {
        max_running: 4,
        max_attempts: 20,
        unmatched_after: super::UNMATCHED_AFTER,
        cluster: Cluster::default(),
        policy: Policy::default(),
    };
    let engine = Engine::new(
        bus.clone(),
        Backend::Process(backend),
        rules,
        metrics.clone(),
        Observer::default(),
        settings,
    );
    let (stopper, stop) = channel();
    let running = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.run(&stop).await })
    };
    for _ in 0..1000 {
        if engine.running() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(engine.running(), 3);
    for number in 0..5 {
        let mut event = of_customer(number);
        event["type"] = json!("disco.knapscen.user.saved");
        event["data"] =
            json!({"user_id": format!("u-{number}"), "name": "Ann", "email": "a@b.c", "role": "admin_user"});
        publish("user-saved", event).await;
    }
    for _ in 0..1000 {
        if metrics.jobs_ended("user-saved-trigger", JobOutcome::Complete) == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(metrics.jobs_ended("user-saved-trigger", JobOutcome::Complete), 5);
    stopper.end();
    running.await.unwrap();
    assert_eq!(metrics.jobs_ended("customer-saved-trigger", JobOutcome::Stopped), 3);
}
