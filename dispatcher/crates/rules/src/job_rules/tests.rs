//! The verdicts of an API server on Jobs with one mistake each, and on Jobs that look odd but are accepted:
//! `verdicts.jsonl`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

/// One line of the table.
#[derive(Deserialize)]
struct Row {
    what: String,
    verdict: Verdict,
    job: Value,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Taken,
    Refused,
}

fn table() -> Vec<Row> {
    include_str!("verdicts.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The errors that types and field names alone give.
fn is_typed(job: &Value) -> bool {
    let (typed, unknown) = crate::manifest::read_closely::<k8s_openapi::api::batch::v1::Job>(job);
    typed.is_ok() && unknown.is_empty()
}

#[test]
fn every_job_of_the_table_gets_the_verdict_of_the_server() {
    let table = table();
    assert!(table.iter().filter(|row| row.verdict == Verdict::Refused).count() >= 100);
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|Row { what, job, verdict }| {
            let faults = check(job);
            let is_taken = is_typed(job) && faults.is_empty();
            (is_taken != (*verdict == Verdict::Taken)).then(|| format!("{what}: {verdict:?}, but {faults:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_fault_names_its_field_and_no_value() {
    for Row { what, job, verdict } in table() {
        for fault in check(&job) {
            assert_eq!(verdict, Verdict::Refused, "{what}: {fault}");
            assert!(
                fault.field.starts_with("spec") || fault.field.starts_with("metadata"),
                "{what}: {fault}"
            );
            assert!(!fault.message.is_empty() && !fault.message.contains("acme"), "{what}: {fault}");
        }
    }
}

#[test]
fn every_mistake_is_found_and_not_only_the_first() {
    let mut job = table().into_iter().find(|row| row.what == "nothing changed").unwrap().job;
    job["spec"]["backoffLimit"] = json!(-1);
    job["spec"]["template"]["spec"]["containers"][0]["image"] = json!("");
    job["spec"]["template"]["spec"]["volumes"][0]["name"] = json!("other");
    let fields: Vec<_> = check(&job).into_iter().map(|fault| fault.field).collect();
    for field in [
        "spec.backoffLimit",
        "spec.template.spec.containers[0].volumeMounts[0].name",
        "spec.template.spec.containers[0].image",
    ] {
        assert!(fields.iter().any(|found| found == field), "{field}: {fields:?}");
    }
    assert_eq!(fields.len(), 3);
}
