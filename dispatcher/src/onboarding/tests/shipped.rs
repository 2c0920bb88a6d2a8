//! The manifests of this project.

use serde_json::{Value, json};
use shared::event::{Kind, steps};

use super::shipped;
use crate::flow::Flow;
use crate::manifest::Manifests;
use crate::onboarding::step;
use crate::plan::{Action, Cluster, EnvValue, IncomingEvent, PlannedJob, Policy, expand, plan};

/// The only Job that an event on a NATS subject gives.
fn job_of(subject: &str, payload: &[u8]) -> PlannedJob {
    let event = IncomingEvent::parse(subject, &[], payload).unwrap();
    let mut plans = plan(&event, &shipped(), &Cluster::default(), &Policy::default());
    assert_eq!(plans.len(), 1, "{subject}");
    let Ok(Action::Create { mut jobs, .. }) = plans.remove(0).outcome else { panic!("{subject}: no Job") };
    assert_eq!(jobs.len(), 1);
    jobs.remove(0)
}

/// A variable as the container sees it.
fn variable(job: &PlannedJob, name: &str) -> String {
    let variable = job.spec.env.iter().find(|variable| variable.name == name).unwrap();
    match &variable.value {
        EnvValue::Literal(text) => expand(text, |_| Some("LEAKED".into())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_sample_of_the_shipped_folder_gives_its_job() {
    let set = shipped();
    let wanted = steps().count();
    assert_eq!((set.sources.len(), set.triggers.len(), set.config_maps.len()), (wanted, wanted, wanted));
    assert_eq!(set.samples.len(), wanted);
    for sample in &set.samples {
        let job = job_of(&sample.subject, &sample.payload);
        insta::assert_json_snapshot!(format!("shipped_{}", sample.subject), job.manifest.value());
    }
}

#[test]
fn events_written_by_hand_give_their_job() {
    let customer = "550e8400-e29b-41d4-a716-446655440000";
    let envelope = |kind: &str, data: Value| {
        json!({"specversion": "1.0", "type": kind, "source": "knapscen.disco", "subject": customer, "id": "test-event-001",
            "time": "2025-10-04T12:00:00Z", "datacontenttype": "application/json", "data": data})
        .to_string()
    };
    let data = json!({"name": "Test Company", "subscription_tier": "basic"});
    let job = job_of("customer-saved", envelope("disco.knapscen.customer.saved", data.clone()).as_bytes());
    assert_eq!(job.name, format!("customer-saved-{customer}"));
    assert_eq!(serde_json::from_str::<Value>(&variable(&job, "CUSTOMER_DATA")).unwrap(), data);
    let data = json!({"user_id": "u-1", "name": "John", "email": "john@techcorp.com", "role": "admin_user"});
    let job = job_of("user-saved", envelope("disco.knapscen.user.saved", data).as_bytes());
    assert_eq!((variable(&job, "USER_NAME").as_str(), variable(&job, "USER_ID").as_str()), ("John", "u-1"));
}

#[test]
fn a_hostile_company_arrives_exactly_through_the_shipped_template() {
    for name in [
        "\"Quote\" & Sons: #1",
        "$(DB_PASSWORD)",
        "A$$AP",
        "x\"\n---\nkind: Pod",
        "{{ .Cluster }}",
        "'; --",
        "\\n",
        "12345",
    ] {
        let data = json!({"name": name, "subscription_tier": "basic", "users": []});
        let event = json!({"specversion": "1.0", "type": "disco.knapscen.customer.registered", "source": "knapscen.disco",
            "subject": "a \"b\" $(C)/../..", "id": "i", "data": data});
        let job = job_of("customer-registered", event.to_string().as_bytes());
        assert_eq!(variable(&job, "COMPANY_NAME"), name);
        assert_eq!(serde_json::from_str::<Value>(&variable(&job, "COMPANY_DATA")).unwrap(), data);
        assert_eq!(variable(&job, "CUSTOMER_ID"), "a \"b\" $(C)/../..");
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(job.name.len() <= 63 && job.name.chars().all(fits), "{}", job.name);
    }
}

/// Which step starts which, by the names of the steps.
fn links(set: &Manifests, known: crate::flow::Announces) -> Vec<(String, String)> {
    let flow = Flow::of(set, &Cluster::default(), known);
    let name = |at: usize| flow.steps[at].name().to_owned();
    let mut links: Vec<_> = flow.links.iter().map(|(from, to)| (name(*from), name(*to))).collect();
    links.sort();
    links
}

#[test]
fn the_shipped_annotations_alone_make_one_chain_of_all_steps() {
    let names: Vec<_> = steps().map(str::to_owned).collect();
    let mut chain: Vec<_> = names.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    chain.sort();
    let mut set = shipped();
    assert_eq!(links(&set, |_| None), chain);
    for map in &mut set.config_maps {
        assert!(map.says_emits, "{}", map.name);
        (map.says_emits, map.emits) = (false, Vec::new());
    }
    assert_eq!(links(&set, step::announces), chain, "ConfigMaps from before the annotation");
    assert_eq!(links(&set, |_| None), []);
}

#[test]
fn images_are_known_by_their_last_name_from_any_registry() {
    for image in
        ["knapscen/save-user:latest", "save-user", "registry.example:5000/team/knapscen-save-user@sha256:00"]
    {
        assert!(step::is_step(image), "{image}");
        let subject = step::announces(image).map(|event| event.subject);
        assert_eq!(subject.as_deref(), Some(Kind::WelcomeEmailSent.subject()), "{image}");
    }
    assert!(!step::is_step("busybox:1"));
    assert_eq!(step::announces("busybox:1"), None);
}
