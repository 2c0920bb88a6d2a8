//! The manifests of this project.

use std::path::Path;

use super::*;
use crate::plan::{EnvValue, expand};

fn shipped() -> Manifests {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    load(&dir).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The one Job that an event gives on a NATS subject.
fn job_of(subject: &str, payload: &[u8]) -> PlannedJob {
    let event = IncomingEvent::parse(subject, &[], payload).unwrap();
    let mut plans = plan_all(&shipped(), &event);
    assert_eq!(plans.len(), 1, "{subject}");
    let mut jobs = jobs(plans.remove(0));
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
    assert_eq!((set.sources.len(), set.triggers.len(), set.config_maps.len()), (7, 7, 7));
    assert_eq!(set.samples.len(), 7);
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
        assert!(crate::plan::name::is_dns_name(&job.name), "{}", job.name);
    }
}
