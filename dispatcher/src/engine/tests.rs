//! The whole loop on the embedded bus with the shipped manifests and a backend that runs nothing.

mod action;
mod bug;
mod several;
mod unmatched;

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::manifest;
use crate::metrics::JobOutcome;
use crate::observer::Watcher;
use ::job::stop::{Stopper, channel};
use ::job::{Failure, FailureClass, JobRun, Outcome, Report, State};
use backend::{EndedJobPolicy, Recording};
use bus::{Access, Backlog, DeadLetter, Filter, Message, Settings as BusSettings};

const TRIGGER: &str = "customer-saved-trigger";
const UNMATCHED_AFTER: Duration = Duration::from_secs(3);

/// A running engine.
struct Ground {
    _folder: TempDir,
    bus: Bus,
    backend: Recording,
    metrics: Metrics,
    seen: Arc<Mutex<Vec<JobRun>>>,
    stopper: Stopper,
    engine: tokio::task::JoinHandle<()>,
}

impl Ground {
    /// With the shipped manifests.
    async fn start(script: impl IntoIterator<Item = Outcome>, max_attempts: u64) -> Self {
        let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
        Self::with(Rules::new(manifest::load(&events).unwrap()), script, max_attempts).await
    }

    async fn with(rules: Rules, script: impl IntoIterator<Item = Outcome>, max_attempts: u64) -> Self {
        Self::whole(rules, Cluster::default(), script, max_attempts, "customer-saved").await
    }

    /// Returns once the engine takes events of this subject.
    async fn waiting_for(rules: Rules, subject: &str) -> Self {
        Self::on(rules, Cluster::default(), subject).await
    }

    async fn on(rules: Rules, cluster: Cluster, subject: &str) -> Self {
        Self::whole(rules, cluster, [], 20, subject).await
    }

    async fn whole(
        rules: Rules,
        cluster: Cluster,
        script: impl IntoIterator<Item = Outcome>,
        max_attempts: u64,
        subject: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus =
            Bus::open(&BusSettings::embedded(folder.path().join("queue.db")), Access::Consume).await.unwrap();
        bus.ensure_subjects(&rules.subjects()).await.unwrap();
        let (backend, metrics) = (Recording::with(script), Metrics::default());
        let settings = Settings {
            max_running: 4,
            max_attempts,
            unmatched_after: UNMATCHED_AFTER,
            cluster,
            policy: Policy::default(),
        };
        let (stopper, stop) = channel();
        let recording = Backend::Recording(backend.clone());
        let seen = Arc::new(Mutex::default());
        let observer = Observer::new([Watcher::Recording(Arc::clone(&seen))]);
        let engine = Engine::new(bus.clone(), recording, rules, metrics.clone(), observer, settings);
        let engine = tokio::spawn(async move { engine.run(&stop).await });
        let ground = Self { _folder: folder, bus, backend, metrics, seen, stopper, engine };
        // The bus counts waiting messages from the first fetch on.
        ground.until(|left| left.iter().any(|one| one.subject == subject)).await;
        ground
    }

    async fn until_text(&self, part: &str) {
        for _ in 0..1500 {
            if self.metrics.text().contains(part) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came: {part}");
    }

    async fn until(&self, is_so: impl Fn(&[Backlog]) -> bool) {
        let mut left = Vec::new();
        for _ in 0..1500 {
            left = self.bus.backlog().await.unwrap();
            if is_so(&left) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came: {left:?}");
    }

    async fn publish(&self, subject: &str, payload: impl ToString) {
        let message = Message {
            subject: subject.to_owned(),
            payload: payload.to_string().into(),
            ..Message::default()
        };
        self.bus.publish(message).await.unwrap();
    }

    /// Waits until the bus is empty, then stops the engine, and returns the dead letters.
    async fn settled(self) -> (Recording, Metrics, Vec<DeadLetter>) {
        self.until(|left| left.iter().all(|one| one.waiting + one.in_flight == 0)).await;
        self.stopper.drain();
        self.engine.await.unwrap();
        let (mut letters, mut filter) = (Vec::new(), Filter::default());
        loop {
            let page = self.bus.dead_letters(&filter).await.unwrap();
            letters.extend(page.letters);
            match page.next {
                Some(next) => filter.after = next,
                None => return (self.backend, self.metrics, letters),
            }
        }
    }
}

fn event(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "knapscen.disco", "type": "disco.knapscen.customer.saved",
        "subject": "550e8400-e29b-41d4-a716-446655440000", "datacontenttype": "application/json",
        "data": {"name": "Test Company", "subscription_tier": "basic"},
    })
}

fn failed(reason: &str) -> Outcome {
    let report = Report::from_text(r#"{"exit_code":65}"#);
    Outcome::Failed(Failure {
        class: FailureClass::PodFailurePolicy,
        exit_code: Some(65),
        message: reason.to_owned(),
        report,
    })
}

fn try_again(reason: &str) -> Outcome {
    Outcome::TryAgain(Failure {
        class: FailureClass::BackoffLimitExceeded,
        exit_code: Some(75),
        message: reason.to_owned(),
        report: Report::default(),
    })
}

#[tokio::test]
async fn a_matching_event_runs_its_job_and_is_acknowledged() {
    let ground = Ground::start([], 20).await;
    ground.publish("customer-saved", event("test-event-001")).await;
    let (backend, metrics, letters) = ground.settled().await;
    let started = backend.started();
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].name, "customer-saved-550e8400-e29b-41d4-a716-446655440000");
    assert_eq!((metrics.jobs_ended(TRIGGER, JobOutcome::Complete), letters.len()), (1, 0));
}

#[tokio::test]
async fn observers_are_told_when_a_job_begins_and_when_it_ended() {
    let ground = Ground::start([try_again("no database")], 20).await;
    ground.publish("customer-saved", event("e1")).await;
    let seen = Arc::clone(&ground.seen);
    ground.settled().await;
    let seen = std::mem::take(&mut *seen.lock());
    let told: Vec<_> = seen
        .iter()
        .map(|run| match &run.state {
            State::Running => (run.event.attempt, "running"),
            State::Ended { outcome: Outcome::TryAgain(_), .. } => (run.event.attempt, "again"),
            State::Ended { outcome: Outcome::Complete { .. }, .. } => (run.event.attempt, "complete"),
            State::Ended { .. } => (run.event.attempt, "other"),
        })
        .collect();
    assert_eq!(told, [(1, "running"), (1, "again"), (2, "running"), (2, "complete")]);
    let first = &seen[0];
    assert_eq!((first.trigger.as_str(), first.image.as_str()), (TRIGGER, "knapscen/save-customer:latest"));
    assert_eq!(first.event.flow_key, "550e8400-e29b-41d4-a716-446655440000");
    assert!(first.event.published_at <= first.event.taken_at && first.event.taken_at <= first.handed_at);
    assert_eq!(first.event_hash, seen[3].event_hash);
}

#[tokio::test]
async fn what_is_no_cloudevent_is_a_dead_letter_whole_and_holds_up_nothing() {
    let ground = Ground::start([], 20).await;
    ground.publish("customer-saved", "not json").await;
    ground.publish("customer-saved", event("e1")).await;
    let (backend, _, letters) = ground.settled().await;
    assert_eq!(backend.started().len(), 1);
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (&letters[0].payload[..], letters[0].info.failure.class.name()),
        (&b"not json"[..], "NotACloudEvent")
    );
}

#[tokio::test]
async fn an_event_that_no_job_can_be_given_is_a_dead_letter_whole_and_holds_up_nothing() {
    let ground = Ground::start([], 20).await;
    let mut large = event("large");
    large["data"]["users"] = json!(vec![json!({"name": "Ann", "role": "admin_user"}); 20_000]);
    for _ in 0..20 {
        ground.publish("customer-saved", &large).await;
        ground.publish("customer-saved", "x".repeat(900_000)).await;
    }
    ground.publish("customer-saved", event("e1")).await;
    let seen = Arc::clone(&ground.seen);
    let (backend, _, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (1, 40));
    let letter = letters.iter().find(|letter| letter.info.event_id == "large").unwrap();
    assert_eq!(letter.payload, large.to_string().as_bytes());
    assert_eq!(letter.info.flow_key, "550e8400-e29b-41d4-a716-446655440000");
    assert!(letters.iter().all(|letter| letter.info.failure.class == FailureClass::TooLarge));
    assert!(
        letter.info.failure.message.contains("128 KiB (131072 bytes)"),
        "{}",
        letter.info.failure.message
    );
    let seen = seen.lock();
    let told = seen.iter().find(|run| run.event.id == "large").unwrap();
    assert_eq!(told.event.flow_name, "Test Company");
}

#[tokio::test]
async fn a_loop_ends_after_32_hops() {
    let ground = Ground::start([], 20).await;
    for (id, hops) in [("e32", 32), ("e33", 33)] {
        let mut event = event(id);
        event["hopcount"] = json!(hops);
        ground.publish("customer-saved", event).await;
    }
    let seen = Arc::clone(&ground.seen);
    let (backend, _, letters) = ground.settled().await;
    assert_eq!(backend.started().len(), 1);
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].info.event_id.as_str(), letters[0].info.failure.class.name()),
        ("e33", "HopLimit")
    );
    // The customer's page shows why the flow does not go on.
    let seen = seen.lock();
    let told = seen.iter().find(|run| run.event.id == "e33").unwrap();
    assert!(format!("{:?}", told.state).contains("33 hops are a loop"), "{told:?}");
    assert_eq!(told.event.flow_key, letters[0].info.flow_key);
}

#[tokio::test]
async fn a_job_that_failed_for_good_is_a_dead_letter_with_its_own_words() {
    let ground = Ground::start([failed("exit code 65: no such tier")], 20).await;
    ground.publish("customer-saved", event("e1")).await;
    let (backend, _, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (1, 1));
    let info = &letters[0].info;
    assert_eq!(info.failure.message, "exit code 65: no such tier");
    assert_eq!(info.failure.report.as_str(), r#"{"exit_code":65}"#);
    assert_eq!(info.triggers, [TRIGGER]);
    assert_eq!(info.flow_key, "550e8400-e29b-41d4-a716-446655440000");
    assert_eq!(letters[0].payload, event("e1").to_string().as_bytes());
}

#[tokio::test]
async fn a_job_worth_another_try_gets_it() {
    let ground = Ground::start([try_again("no database")], 20).await;
    ground.publish("customer-saved", event("e1")).await;
    let (backend, metrics, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (2, 0));
    assert_eq!(metrics.jobs_ended(TRIGGER, JobOutcome::TryAgain), 1);
    assert!(metrics.text().contains("dispatcher_events_redelivered_total{subject=\"customer-saved\"} 1"));
}

#[tokio::test]
async fn after_the_last_attempt_it_is_a_dead_letter() {
    let ground = Ground::start([try_again("no database"), try_again("no database")], 2).await;
    ground.publish("customer-saved", event("e1")).await;
    let seen = Arc::clone(&ground.seen);
    let (backend, _, letters) = ground.settled().await;
    assert_eq!((backend.started().len(), letters.len()), (2, 1));
    assert_eq!(letters[0].info.failure.message, "given up after 2 attempts: no database");
    let last = seen.lock().pop().expect("those who watch are told of it");
    let State::Ended { outcome: Outcome::Failed(Failure { message, .. }), .. } = last.state else {
        panic!("{last:?}")
    };
    assert_eq!(message, letters[0].info.failure.message, "and that it is not tried again");
    assert_eq!(letters[0].info.attempts, 2);
}

#[tokio::test]
async fn a_replayed_dead_letter_runs_again_as_another_delivery() {
    let ground = Ground::start([failed("bad")], 20).await;
    ground.publish("customer-saved", event("e1")).await;
    let number = loop {
        if let Some(letter) = ground.bus.dead_letters(&Filter::default()).await.unwrap().letters.first() {
            break letter.number;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    ground.bus.replay(number).await.unwrap().unwrap();
    let (backend, metrics, letters) = ground.settled().await;
    let hashes: Vec<_> = backend.started().iter().map(|job| job.identity.event_hash()).collect();
    assert_eq!((hashes.len(), letters.len()), (2, 0));
    assert_ne!(hashes[0], hashes[1]);
    assert_eq!(metrics.jobs_ended(TRIGGER, JobOutcome::Complete), 1);
}

#[tokio::test]
async fn an_event_of_several_triggers_runs_only_those_again_that_have_not_ended() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/customer-saved");
    for name in ["eventsource.yaml", "configmap.yaml", "eventtrigger.yaml"] {
        std::fs::copy(shipped.join(name), folder.path().join(name)).unwrap();
    }
    // A second trigger whose Job has another name.
    for (name, word) in [("configmap.yaml", "customer-saved-job"), ("eventtrigger.yaml", TRIGGER)] {
        let text = std::fs::read_to_string(shipped.join(name)).unwrap();
        let text = text
            .replace(word, &format!("second-{word}"))
            .replace("customer-saved-job", "second-customer-saved-job");
        let text =
            text.replace("second-second-", "second-").replace("\"customer-saved-%s\"", "\"second-%s\"");
        std::fs::write(folder.path().join(format!("second-{name}")), text).unwrap();
    }
    let rules = Rules::new(manifest::load(folder.path()).unwrap());
    let ground = Ground::start([], 20).await;
    ground.stopper.drain();
    ground.engine.await.unwrap();

    let backend = Recording::with([try_again("away")]);
    let (stopper, stop) = channel();
    let settings = Settings {
        max_running: 4,
        max_attempts: 20,
        unmatched_after: UNMATCHED_AFTER,
        cluster: Cluster::default(),
        policy: Policy::default(),
    };
    let recording = Backend::Recording(backend.clone());
    let engine = Engine::new(
        ground.bus.clone(),
        recording,
        rules,
        ground.metrics.clone(),
        Observer::default(),
        settings,
    );
    let engine = tokio::spawn(async move { engine.run(&stop).await });
    let ground = Ground { backend, stopper, engine, ..ground };
    ground.publish("customer-saved", event("e1")).await;
    let (backend, _, letters) = ground.settled().await;
    let mut names: Vec<_> = backend.started().iter().map(|job| job.identity.trigger.clone()).collect();
    let again = names.pop().unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_ne!(names[0], names[1]);
    assert_eq!(again, names[0]);
    assert_eq!(letters.len(), 0);
}

#[tokio::test]
async fn a_stopping_engine_takes_no_more() {
    let ground = Ground::start([], 20).await;
    ground.stopper.drain();
    ground.engine.await.unwrap();
    let message = Message {
        subject: "customer-saved".to_owned(),
        payload: event("e1").to_string().into(),
        ..Message::default()
    };
    ground.bus.publish(message).await.unwrap();
    let waiting: u64 = ground.bus.backlog().await.unwrap().iter().map(|one| one.waiting).sum();
    assert_eq!((waiting, ground.backend.started().len()), (1, 0));
}
