//! The environment of a Pod: the address of the API server in variables, a service account in files, and nothing
//! else.

use std::process::Command;

use tests::Setting;
use tests::kubernetes::ApiServer;

use crate::bench::Bench;
use crate::clock::Clock;

/// The files have the same paths as in a Pod, for this program only. `ACCOUNT` is their folder.
const IN_POD: &str = "mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io && \
                      ln -s \"$ACCOUNT\" /run/secrets/kubernetes.io/serviceaccount && exec \"$@\"";

/// A mount namespace of its own, for root and for users who may become root in one.
const APART: [&str; 3] = ["/usr/bin/unshare", "--map-root-user", "--mount"];

/// Whether this machine lets us change what a program sees below /run.
fn may_mount() -> bool {
    let try_it =
        Command::new(APART[0]).args(&APART[1..]).args(["mount", "-t", "tmpfs", "none", "/run"]).status();
    let may = try_it.is_ok_and(|status| status.success());
    if !may {
        eprintln!("NOT TESTED: the configuration of a Pod, because unshare and mount are not allowed here");
    }
    may
}

fn settings(bench: &Bench, server: &ApiServer, clock: &Clock) -> Vec<Setting> {
    let mut all = tests::settings([
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", &server.port().to_string()),
        ("ACCOUNT", &bench.scratch.join("account").display().to_string()),
    ]);
    all.extend(clock.settings());
    all
}

#[test]
fn in_a_pod_the_service_account_opens_the_door_and_its_token_is_read_anew() {
    if !may_mount() {
        return;
    }
    let server = ApiServer::start_with_tls();
    let bench = Bench::on(&server);
    let authority = std::fs::read_to_string(server.authority()).expect("the authority");
    for (name, text) in [("token", "first"), ("ca.crt", &authority), ("namespace", &bench.namespace)] {
        bench.scratch.write(&format!("account/{name}"), text);
    }
    server.ask_for("first");
    let clock = Clock::new().expect("a clock");
    let behind = [&APART[..], &["/bin/sh", "-c", IN_POD, "sh"]].concat();
    let mut dispatcher = bench.dispatcher_in_pod(&behind, settings(&bench, &server, &clock));
    bench.runs(&mut dispatcher, "e-1", "one");

    // The kubelet has renewed the token, and the old one has expired.
    bench.scratch.write("account/token", "second");
    server.ask_for("second");
    dispatcher.publish("e-2", "two");
    let line = dispatcher.until_logged("failed, to be tried again", "e-2");
    assert!(
        line["reason"].as_str().is_some_and(|reason| reason.contains("does not take the token")),
        "{line}"
    );
    clock.set(60);
    let job = bench.until_job("two", None);
    bench.finish(&mut dispatcher, "e-2", &job);
    assert_eq!(
        server.job_calls(),
        ["POST jobs/thing-one 201", "LIST pods 200", "POST jobs/thing-two 201", "LIST pods 200"]
    );
    let output = dispatcher.running.process.output();
    assert!(!output.contains("first") && !output.contains("second"), "a token in the log");
}
