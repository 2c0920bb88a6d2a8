//! The whole flow, from a registration to an onboarded customer, with the shipped manifests and the real workers.
//! What the cluster's kubelets would run is run here, as the Job says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::kubernetes::{ApiServer, Ended, Hand};
use tests::program::Program;
use tests::{Setting, wait};

use crate::bench::Bench;
use crate::system::{self, System};

/// A registration becomes an onboarded customer, and the books are right.
pub(crate) fn runs(bench: &Bench) {
    let system = System::start();
    let events = bench.scratch.join("flow-events");
    place(&system::shipped_events(), &events, &bench.namespace);
    let settings = system.nats.settings();
    let mut dispatcher =
        bench.dispatcher_on(Program::dispatcher().argument("run").settings(settings), &events);
    system.publish(&system::registration("Cluster Ltd"));
    let secret = system.secret();
    let mut done = BTreeSet::new();
    wait::until(system::LIMIT, "the customer is on board", || {
        dispatcher.running.process.check_alive();
        for name in bench.hand.job_names(&bench.namespace) {
            if done.insert(name.clone())
                && let Some(job) = bench.hand.job(&bench.namespace, &name)
            {
                run_worker(&bench.hand, &job, &secret);
            }
        }
        (system.onboarded() == 1 && !system.nats.events("customer-onboarded").is_empty()).then_some(())
    });
    system.check_books(1);
    assert_eq!(done.len(), 9, "a Job for each of the seven steps, three of them for users: {done:?}");
}

/// Runs the worker of the Job's image, with the Job's variables and Secret, like a kubelet.
fn run_worker(hand: &Hand, job: &Value, secret: &[Setting]) {
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["envFrom"][0]["secretRef"]["name"], "knapscen-config");
    let image = container["image"].as_str().unwrap_or_default();
    let step = image.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or_default();
    let mut program = Program::worker(step.trim_start_matches("knapscen-")).settings(secret.to_vec());
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        program = program.set(name, variable["value"].as_str().unwrap_or_default());
    }
    let pod = hand.start(job);
    let ended = program.run();
    let code = ended.code.unwrap_or(137);
    let failure = if code == 0 { "" } else { "BackoffLimitExceeded" };
    hand.end(job, &pod, &Ended { code, message: &ended.report.to_string(), failure });
}

/// The shipped manifests with their Jobs in this namespace, ignored by a built-in controller.
fn place(from: &Path, to: &Path, namespace: &str) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("manifests").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            place(&entry.path(), &target, namespace);
            continue;
        }
        let text = fs::read_to_string(entry.path()).expect("a manifest");
        let text = if entry.file_name() == "configmap.yaml" {
            let (job, spec) = ("\n      namespace: ", "\n    spec:\n");
            text.replace(&format!("{job}default\n"), &format!("{job}{namespace}\n"))
                .replace(spec, &format!("{spec}      managedBy: knapscen.disco/tests\n"))
        } else {
            text
        };
        fs::write(target, text).expect("a manifest");
    }
}

#[test]
fn a_registration_becomes_a_customer_on_board() {
    let server = ApiServer::start();
    runs(&Bench::on(&server));
    let made = server.job_calls().into_iter().filter(|call| call.starts_with("POST jobs/")).count();
    assert_eq!(made, 9, "{:?}", server.job_calls());
    let watches = server.calls().into_iter().filter(|call| call.starts_with("WATCH jobs")).count();
    assert_eq!(watches, 1, "one for all Jobs: {:?}", server.calls());
}
