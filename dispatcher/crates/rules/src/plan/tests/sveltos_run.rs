//! What Project Sveltos itself made of 169 events on a real API server: event-manager 1.13, addon-controller 1.14,
//! agent 0.51.1.
//!
//! `sveltos-run.yaml` in `dispatcher/tests/golden` is a copy of the manifests of `events/` at that time, so that a
//! change of those changes nothing here. Each line of `sveltos-run.jsonl` is one event. `on` is its NATS subject;
//! `there` is the Job that Sveltos made, without its own labels and the variables of the Secret (`null`: it made
//! none); `here` is the Job that we make on purpose instead; and `why` is the reason.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::plan::EnvValue;

#[derive(Deserialize)]
struct Row {
    on: String,
    event: String,
    there: Option<Made>,
    here: Option<Made>,
    why: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Made {
    name: String,
    image: String,
    labels: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
}

impl Made {
    fn of(job: &PlannedJob) -> Self {
        let manifest = job.manifest.value();
        assert_eq!(manifest["metadata"]["namespace"], "default");
        assert_eq!(
            (&manifest["spec"]["backoffLimit"], &manifest["spec"]["activeDeadlineSeconds"]),
            (&json!(5), &json!(900))
        );
        let labels = |pointer: &str| -> BTreeMap<String, String> {
            let labels = manifest.pointer(pointer).and_then(Value::as_object).unwrap().iter();
            let own = |key: &str| key.starts_with("dispatcher.") || key == "app.kubernetes.io/managed-by";
            labels
                .filter(|(key, _)| !own(key))
                .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
                .collect()
        };
        assert_eq!(labels("/metadata/labels"), labels("/spec/template/metadata/labels"));
        let env = job.spec.env.iter().map(|variable| match &variable.value {
            EnvValue::Literal(text) => (variable.name.clone(), text.clone()),
            other => panic!("{other:?}"),
        });
        Self {
            name: job.name.clone(),
            image: job.spec.image.clone(),
            labels: labels("/metadata/labels"),
            env: env.collect(),
        }
    }
}

#[test]
fn the_jobs_are_those_that_sveltos_made_of_the_same_events() {
    let set = manifests(&[include_str!("../../../../../tests/golden/sveltos-run.yaml")]);
    let rows: Vec<Row> = include_str!("../../../../../tests/golden/sveltos-run.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 169);
    let (mut same, mut other, mut wrong) = (0, 0, Vec::new());
    for (number, row) in rows.into_iter().enumerate() {
        let made = IncomingEvent::parse(&row.on, &[], row.event.as_bytes()).ok().and_then(|event| {
            let mut plans = plan_all(&set, &event);
            assert!(plans.len() <= 1, "line {}", number + 1);
            match plans.pop()?.outcome.ok()? {
                Action::Create { jobs, .. } => Some(Made::of(jobs.first()?)),
                Action::Delete { .. } | Action::Skip(_) => None,
            }
        });
        let wanted = if row.why.is_some() { &row.here } else { &row.there };
        if made != *wanted {
            wrong.push(format!("line {}: {made:#?} instead of {wanted:#?}", number + 1));
        }
        if row.why.is_some() {
            assert_ne!(row.here, row.there, "line {}: it does not differ any more", number + 1);
            other += 1;
        } else {
            same += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of them: {}", wrong.len(), wrong.join("\n"));
    assert_eq!((same, other), (163, 6));
}
