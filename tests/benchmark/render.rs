//! From the bytes of a message to the Job: parse, match, render, check; compared with only parsing the finished Job's
//! YAML.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use kyaml::parse_documents;
use rules::manifest::{self, Manifests};
use rules::plan::{Action, Cluster, IncomingEvent, Policy, plan};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Size;
use crate::measure::in_turn;
use crate::report::{Figure, Goal};

pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let manifests = shipped();
    let policy = Policy::default();
    let cluster = Cluster::default();
    let rounds = size.pick(10, 100);
    let mut figures = Vec::new();
    for subject in ["user-saved", "customer-registered"] {
        let messages = messages(&manifests, subject, 100);
        let texts: Vec<_> = messages.iter().map(|message| finished(&manifests, subject, message)).collect();
        let [yaml, whole] = in_turn(
            rounds,
            3,
            [
                &mut |_| {
                    each(&texts, |text| {
                        black_box(parse_documents(text)).map_or(0, |documents| documents.len())
                    })
                },
                &mut |_| {
                    each(&messages, |message| {
                        let event = IncomingEvent::parse(subject, &[], message).expect("an event");
                        jobs(&black_box(plan(&event, &manifests, &cluster, &policy)))
                    })
                },
            ],
        );
        let figure = Figure::new(format!("{subject}: message to Job"), "µs", whole.median())
            .beside("its YAML parsed", yaml.median());
        figures.push(figure.goal(Goal::AtMost(50.0)));
    }
    figures
}

/// The manifests that we ship.
pub(crate) fn shipped() -> Manifests {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    manifest::load(&folder).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Messages like the sample, each about another customer.
fn messages(manifests: &Manifests, subject: &str, count: usize) -> Vec<Vec<u8>> {
    let sample = manifests.samples.iter().find(|sample| sample.subject == subject).expect("a sample");
    let sample: Value = serde_json::from_slice(&sample.payload).expect("JSON");
    let message = |number| {
        let mut event = sample.clone();
        for field in ["id", "subject"] {
            event[field] = json!(Uuid::new_v4());
        }
        event["data"]["name"] = json!(format!("\"Company\" {number} & Sons: #1"));
        event.to_string().into_bytes()
    };
    (0..count).map(message).collect()
}

/// The Job's text as Go would render it.
fn finished(manifests: &Manifests, subject: &str, message: &[u8]) -> String {
    let event = IncomingEvent::parse(subject, &[], message).expect("an event");
    let name = format!("{subject}-job");
    let map = manifests.config_maps.iter().find(|map| map.name == name).expect("a ConfigMap");
    let template = map.entries.first().and_then(|entry| entry.template.as_ref()).expect("a template");
    template.render_text(&json!({"CloudEvent": event.view()})).expect("a text")
}

fn jobs(plans: &[rules::plan::TriggerPlan]) -> usize {
    let jobs = |plan: &rules::plan::TriggerPlan| match &plan.outcome {
        Ok(Action::Create { jobs, .. }) => jobs.len(),
        other => panic!("{other:?}"),
    };
    plans.iter().map(jobs).sum()
}

/// Microseconds for one, averaged. Each must give a result.
fn each<T>(all: &[T], mut work: impl FnMut(&T) -> usize) -> f64 {
    let started = Instant::now();
    let done: usize = all.iter().map(&mut work).sum();
    assert_eq!(done, all.len(), "results");
    started.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(done).expect("few"))
}
