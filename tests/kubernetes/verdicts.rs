//! The stand-in refuses what a real API server refuses: the same table of Jobs with one mistake each as for
//! `validate`.

use axum::http::Method;
use serde_json::{Value, json};
use tests::kubernetes::ApiServer;

use crate::bench::Bench;

#[test]
fn the_stand_in_takes_and_refuses_jobs_as_the_real_server_does() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let path = format!("/apis/batch/v1/namespaces/{}/jobs?fieldValidation=Strict", bench.namespace);
    let table = include_str!("../../dispatcher/crates/rules/src/job_rules/verdicts.jsonl");
    let mut wrong = Vec::new();
    for (number, line) in table.lines().enumerate() {
        let row: Value = serde_json::from_str(line).expect("a line of the table");
        let mut job = row["job"].clone();
        // Each has a name of its own, unless the mistake is in the name.
        if job["metadata"]["name"] == "work" {
            job["metadata"]["name"] = json!(format!("work-{number}"));
        }
        let answer = bench.hand.try_call(&Method::POST, &path, &job);
        if answer.is_ok() != (row["verdict"] == "taken") {
            wrong.push(format!("{}: {:?}", row["what"], answer.err()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
