//! Events that no trigger in force takes.

use super::*;
use crate::manifest_source::Rules;
use crate::manifest_source::rules::Concern;
use crate::plan::{Action, Given, IncomingEvent, Needs, TriggerPlan, plan, spoilt, without_jobs};

fn shipped() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")
}

/// The shipped manifests without some of their folders or files.
fn without(gone: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(shipped()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        if gone.contains(&name.as_str()) {
            continue;
        }
        std::fs::create_dir(folder.path().join(&name)).unwrap();
        for file in std::fs::read_dir(entry.path()).unwrap().flatten() {
            let path = format!("{name}/{}", file.file_name().into_string().unwrap());
            if !gone.contains(&path.as_str()) {
                std::fs::copy(file.path(), folder.path().join(path)).unwrap();
            }
        }
    }
    folder
}

/// On a cluster that is not contacted, with these Secrets.
fn needs(secrets: &[&str]) -> Needs {
    let secrets = secrets.iter().map(ToString::to_string).collect();
    Needs { given: Some(Given { secrets, ..Given::default() }), ..Needs::default() }
}

fn rules(folder: &Path) -> Rules {
    Rules::new(manifest::load_part(folder, None, &|_| Vec::new()).unwrap())
}

#[tokio::test]
async fn an_event_of_a_wrong_type_is_parked_and_then_a_dead_letter() {
    let ground = Ground::start([], 20).await;
    let mut other = event("e1");
    other["type"] = json!("some.other.type");
    ground.publish("customer-saved", &other).await;
    ground.until_text("dispatcher_events_unmatched_total{subject=\"customer-saved\"} 1").await;
    let seen = Arc::clone(&ground.seen);
    let (backend, _, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (0, 1));
    let info = &letters[0].info;
    assert_eq!((info.failure.class.name(), info.attempts), ("Unmatched", 0));
    assert!(info.failure.message.contains("\"some.other.type\""), "{}", info.failure.message);
    assert_eq!(letters[0].payload, other.to_string().as_bytes());
    assert_eq!(seen.lock().len(), 1, "its customer is told");
}

#[tokio::test]
async fn an_event_whose_trigger_is_missing_runs_once_it_is_there() {
    for gone in ["customer-saved/eventtrigger.yaml", "customer-saved"] {
        let incomplete = without(&[gone]);
        let rules = rules(incomplete.path());
        let ground = Ground::waiting_for(rules.clone(), "customer-saved").await;
        ground.publish("customer-saved", event("e1")).await;
        ground.until_text("dispatcher_events_unmatched_total{subject=\"customer-saved\"} 1").await;
        rules.take("a test", manifest::load(&shipped()));
        let (backend, _, letters) = ground.settled().await;
        assert_eq!((backend.started().len(), letters.len()), (1, 0), "{gone}");
    }
}

#[tokio::test]
async fn an_event_for_a_trigger_that_is_left_out_waits_though_another_one_takes_it() {
    let folder = without(&[]);
    let broken = "apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventTrigger\nmetadata: {name: second}\nspec:\n  \
                  sourceClusterSelector: {matchLabels: {role: deploy}}\n  eventSourceName: customer-saved\n  \
                  oneForEvent: true\n  policyRefs: [{kind: ConfigMap, namespace: default, name: nowhere}]\n";
    std::fs::write(folder.path().join("second.yaml"), broken).unwrap();
    let rules = rules(folder.path());
    assert!(rules.state().refused.unwrap().contains("nowhere"));
    let ground = Ground::waiting_for(rules, "customer-saved").await;
    ground.publish("customer-saved", event("e1")).await;
    let (backend, _, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (1, 1), "the valid trigger ran once");
    assert_eq!(letters[0].info.failure.class, FailureClass::Unmatched);
    assert!(letters[0].info.failure.message.contains("second"), "{}", letters[0].info.failure.message);
}

#[tokio::test]
async fn events_wait_where_nobody_gives_the_secret_that_their_jobs_need() {
    let start = async |secrets: &[&str]| {
        crate::manifest_source::rules::load(shipped(), needs(secrets)).await.unwrap()
    };
    let rules = start(&["another"]).await;
    let refused = rules.state().refused.unwrap();
    for words in ["Secret knapscen-config (", "configmap.yaml:", "--secret knapscen-config=PATH", "6 more"] {
        assert!(refused.contains(words), "{words} is not in {refused}");
    }
    assert!(rules.current().triggers.is_empty() && rules.idle(&Cluster::default()).is_some());
    let ground = Ground::waiting_for(rules, "customer-saved").await;
    ground.publish("customer-saved", event("e1")).await;
    let (backend, _, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (0, 1), "a dead letter only when its time is over");
    assert_eq!(letters[0].info.failure.class, FailureClass::Unmatched);
    assert!(
        letters[0].info.failure.message.contains("Secret knapscen-config"),
        "{}",
        letters[0].info.failure.message
    );
    let rules = start(&["knapscen-config"]).await;
    assert_eq!((rules.current().triggers.len(), rules.state().refused), (7, None));
}

#[tokio::test]
async fn a_reference_without_a_namespace_leads_into_that_of_the_cluster() {
    let folder = without(&[]);
    let path = folder.path().join("customer-saved/eventtrigger.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("namespace: default\n", "namespace: \"\"\n")).unwrap();
    let rules = async |namespace: &str| {
        let cluster = Cluster { namespace: namespace.to_owned(), ..Cluster::default() };
        let needs = Needs { cluster, given: None };
        crate::manifest_source::rules::load(folder.path().to_owned(), needs).await.unwrap()
    };
    let here = rules("default").await;
    assert_eq!((here.current().triggers.len(), here.state().refused), (7, None));
    let elsewhere = rules("mgmt").await;
    assert_eq!(elsewhere.current().triggers.len(), 6);
    let refused = elsewhere.state().refused.unwrap();
    assert!(refused.contains("there is no ConfigMap mgmt/customer-saved-job"), "{refused}");
    assert_eq!(elsewhere.current().left_out[0].sources.len(), 1, "its events wait");
}

#[test]
fn a_job_that_asks_for_more_than_is_given_stays_as_it_was() {
    let needs = needs(&["knapscen-config"]);
    let folder = without(&[]);
    let unmet = |set: &manifest::Manifests| needs.unmet(set);
    let before = manifest::load_part(folder.path(), None, &unmet).unwrap();
    let path = folder.path().join("customer-saved/configmap.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("name: knapscen-config", "name: elsewhere")).unwrap();
    let now = manifest::load_part(folder.path(), Some(&before), &unmet).unwrap();
    assert_eq!((now.triggers.len(), now.left_out.len(), now.faults.len()), (7, 0, 1));
    assert!(now.faults[0].to_string().contains("Secret elsewhere"), "{}", now.faults[0]);
    let of_it = |set: &manifest::Manifests| {
        set.config_maps.iter().find(|map| map.name == "customer-saved-job").unwrap().entries[0].text.clone()
    };
    assert_eq!(of_it(&now), of_it(&before));
    let start = manifest::load_part(folder.path(), None, &unmet).unwrap();
    assert_eq!((start.triggers.len(), start.left_out.len()), (6, 1));
}

#[tokio::test]
async fn where_no_trigger_selects_the_cluster_events_wait() {
    let rules = Rules::new(manifest::load(&shipped()).unwrap());
    let wrong = Cluster { labels: [("role".to_owned(), "prod".to_owned())].into(), ..Cluster::default() };
    assert!(rules.idle(&wrong).unwrap().contains("role=prod"));
    assert_eq!(rules.idle(&Cluster::default()), None);
    let ground = Ground::on(rules, wrong, "customer-saved").await;
    ground.publish("customer-saved", event("e1")).await;
    let (backend, _, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (0, 1));
}

#[tokio::test]
async fn an_event_on_a_declared_end_is_done() {
    let ground =
        Ground::waiting_for(Rules::new(manifest::load(&shipped()).unwrap()), "customer-onboarded").await;
    ground.publish("customer-onboarded", event("e1")).await;
    let (_, metrics, letters) = ground.settled().await;
    assert_eq!(letters.len(), 0);
    assert!(!metrics.text().contains("dispatcher_events_unmatched_total{subject=\"customer-onboarded\"} 1"));
}

#[tokio::test]
async fn foreign_subjects_are_left_alone() {
    let ground = Ground::start([], 20).await;
    ground.bus.ensure_subjects(&["somebody-elses".to_owned()].into()).await.unwrap();
    ground.publish("somebody-elses", event("e1")).await;
    ground.publish("customer-saved", event("e2")).await;
    ground.until(|left| left.iter().all(|one| one.waiting + one.in_flight == 0)).await;
    // No fetch has been made on it, so nothing counts it.
    assert!(ground.bus.backlog().await.unwrap().iter().all(|one| one.subject != "somebody-elses"));
    let (_, _, letters) = ground.settled().await;
    assert_eq!(letters.len(), 0);
}

#[tokio::test]
async fn what_a_wildcard_takes_in_and_no_trigger_wants_is_nobodys() {
    let folder = without(&[]);
    let path = folder.path().join("customer-saved/eventsource.yaml");
    let text = std::fs::read_to_string(&path).unwrap().replace("^customer-saved$", "^customer-.*");
    std::fs::write(path, text).unwrap();
    let rules = rules(folder.path());
    assert!(rules.watches("customer-anything") && !rules.watches("another"));
    let ground = Ground::waiting_for(rules, "customer-saved").await;
    ground.bus.ensure_subjects(&["customer-anything".to_owned()].into()).await.unwrap();
    let mut other = event("e1");
    other["type"] = json!("some.other.type");
    ground.publish("customer-anything", other).await;
    ground.until_text("dispatcher_events_unmatched_total{subject=\"customer-anything\"} 1").await;
    let (_, _, letters) = ground.settled().await;
    assert_eq!(letters.len(), 0);
}

#[tokio::test]
async fn a_set_with_fewer_triggers_takes_force_only_after_its_time() {
    let full = manifest::load(&shipped()).unwrap();
    let rules = Rules::new(full.clone()).removing_after(Duration::from_millis(200));
    let fewer = without(&["customer-saved"]);
    let fewer = || manifest::load_part(fewer.path(), Some(&full), &|_| Vec::new());
    rules.take("a test", fewer());
    assert_eq!(rules.current().triggers.len(), 7);
    assert!(rules.state().refused.unwrap().contains(TRIGGER));
    // The trigger comes back.
    rules.take("a test", Ok(full.clone()));
    assert_eq!((rules.current().triggers.len(), rules.state().refused), (7, None));
    rules.take("a test", fewer());
    let (stopper, stop) = channel();
    let settling = tokio::spawn({
        let rules = rules.clone();
        async move { rules.settle(&stop).await }
    });
    while rules.current().triggers.len() == 7 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((rules.current().triggers.len(), rules.state().refused), (6, None));
    stopper.drain();
    settling.await.unwrap();
    // The subject of the removed trigger is still one of the manifests' subjects.
    assert_eq!(rules.concern("customer-saved"), Concern::Named);
}

#[test]
fn a_file_that_is_commented_out_is_like_one_that_is_gone() {
    let folder = without(&[]);
    let before = manifest::load_part(folder.path(), None, &|_| Vec::new()).unwrap();
    std::fs::write(folder.path().join("customer-saved/eventtrigger.yaml"), "# kind: EventTrigger\n").unwrap();
    for earlier in [Some(&before), None] {
        let read = manifest::load_part(folder.path(), earlier, &|_| Vec::new()).unwrap();
        assert_eq!(read.triggers.len(), before.triggers.len() - 1);
    }
}

#[test]
fn of_an_incomplete_folder_what_was_in_force_stays_as_it_was() {
    let full = manifest::load(&shipped()).unwrap();
    let folder = without(&[]);
    let path = |name: &str| folder.path().join("customer-saved").join(name);
    for (name, text) in [
        ("eventtrigger.yaml", ""),
        ("eventtrigger.yaml", "apiVersion: lib.projectsveltos.io/v1beta1\nkind: Ev"),
        ("eventtrigger.yaml", "apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventTrigger\nmetadata:\n"),
        (
            "eventtrigger.yaml",
            "apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventTrigger\nmetadata:\n  name: cust",
        ),
        ("eventsource.yaml", "apiVersion: ["),
        ("configmap.yaml", ""),
    ] {
        let before = manifest::load_part(folder.path(), None, &|_| Vec::new()).unwrap();
        let whole = std::fs::read(path(name)).unwrap();
        std::fs::write(path(name), text).unwrap();
        let read = manifest::load_part(folder.path(), Some(&before), &|_| Vec::new()).unwrap();
        assert_eq!(read.triggers.len(), full.triggers.len(), "{name} {text:?}");
        assert!(read.faults[0].to_string().contains(name), "{:?}", read.faults);
        // At the start there are no earlier manifests to fall back on.
        let start = manifest::load_part(folder.path(), None, &|_| Vec::new()).unwrap();
        assert_eq!(start.triggers.len(), 6, "{name} {text:?}");
        assert!(!start.faults.is_empty());
        std::fs::write(path(name), whole).unwrap();
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(manifest::load_part(empty.path(), None, &|_| Vec::new()).is_err());
    assert!(manifest::load_part(empty.path(), Some(&full), &|_| Vec::new()).is_err());
    assert!(manifest::load(empty.path()).is_err());
}

#[test]
fn a_text_that_is_cut_off_anywhere_stops_no_job() {
    let folder = without(&[]);
    let path = folder.path().join("user-saved/configmap.yaml");
    let whole = std::fs::read_to_string(&path).unwrap();
    let before = manifest::load_part(folder.path(), None, &|_| Vec::new()).unwrap();
    let sample = before.samples.iter().find(|sample| sample.subject == "user-saved").unwrap();
    let event = IncomingEvent::parse(&sample.subject, &[], &sample.payload).unwrap();
    let (cluster, policy) = (Cluster::default(), Policy::default());
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)).step_by(37) {
        std::fs::write(&path, &whole[..end]).unwrap();
        let read = manifest::load_part(folder.path(), Some(&before), &|set| spoilt(&before, set, &cluster));
        let plans = plan(&event, &read.unwrap(), &cluster, &policy);
        assert!(plans.len() == 1 && makes_a_job(&plans[0]), "cut off after {end} bytes: {plans:?}");
    }
}

fn makes_a_job(plan: &TriggerPlan) -> bool {
    matches!(&plan.outcome, Ok(Action::Create { jobs, .. }) if !jobs.is_empty())
}

#[test]
fn of_a_file_that_is_cut_off_anywhere_no_event_is_acknowledged_without_a_job() {
    let (cluster, policy) = (Cluster::default(), Policy::default());
    for name in ["eventtrigger.yaml", "configmap.yaml", "eventsource.yaml"] {
        let folder = without(&[]);
        let path = folder.path().join("user-saved").join(name);
        let whole = std::fs::read_to_string(&path).unwrap();
        let before = manifest::load_part(folder.path(), None, &|_| Vec::new()).unwrap();
        let sample = before.samples.iter().find(|sample| sample.subject == "user-saved").unwrap();
        let event = IncomingEvent::parse(&sample.subject, &[], &sample.payload).unwrap();
        for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)).step_by(29) {
            std::fs::write(&path, &whole[..end]).unwrap();
            let start = manifest::load_part(folder.path(), None, &|set| without_jobs(set, &cluster)).unwrap();
            let read =
                manifest::load_part(folder.path(), Some(&before), &|set| spoilt(&before, set, &cluster))
                    .unwrap();
            let plans = plan(&event, &read, &cluster, &policy);
            assert!(plans.iter().all(makes_a_job), "{name} cut off after {end} bytes: {plans:?}");
            // At a start no earlier manifests help: the event waits, or it is a dead letter that can be replayed.
            let plans = plan(&event, &start, &cluster, &policy);
            let is_safe = |plan: &TriggerPlan| plan.outcome.is_err() || makes_a_job(plan);
            assert!(plans.iter().all(is_safe), "{name} cut off after {end} bytes at a start: {plans:?}");
        }
    }
}
