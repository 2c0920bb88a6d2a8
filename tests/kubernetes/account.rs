//! A dispatcher with only the shipped service account and Role, using a token like a Pod.

use std::fs;
use std::path::{Path, PathBuf};

use axum::http::Method;
use kube::config::{AuthInfo, Kubeconfig};
use serde_json::{Value, json};
use tests::kubernetes::ApiServer;

use crate::bench::Bench;

const NAME: &str = "knapscen-dispatcher";

/// All requests about Jobs, Pods and Events are allowed: create, follow, explain, mark and remove.
pub(crate) fn serves(bench: &Bench) {
    let kubeconfig = kubeconfig(bench, &token(bench));
    let mut dispatcher = bench.dispatcher_through(&kubeconfig, &["--max-attempts", "1"]);
    bench.runs(&mut dispatcher, "e-1", "one");
    let late = bench.begin(&dispatcher, "e-2", "late");
    bench.hand.tell(&late, "FailedCreate", "no such class");
    bench.hand.fail(&late, "DeadlineExceeded", "Job was active longer than specified deadline");
    let line = dispatcher.until_dead_letter("e-2");
    assert!(line["reason"].to_string().contains("no such class"), "{line}");
    let taken_back = bench.begin(&dispatcher, "e-3", "back");
    bench.hand.start(&taken_back);
    dispatcher.publish_type("e-4", "back", "thing.removed");
    let line = dispatcher.until_dead_letter("e-3");
    assert!(line["reason"].to_string().contains("Delete event"), "{line}");
    dispatcher.until_logged("deleted", "e-4");
}

/// Applies the contents of `base/access.yaml`, and requests a token.
fn token(bench: &Bench) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dispatcher/deploy/base/access.yaml");
    let text = fs::read_to_string(file).expect("the shipped Role");
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let namespace = &bench.namespace;
    for mut object in objects {
        let (prefix, plural) = match object["kind"].as_str() {
            Some("ServiceAccount") => ("api/v1", "serviceaccounts"),
            Some("Role") => ("apis/rbac.authorization.k8s.io/v1", "roles"),
            Some("RoleBinding") => ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
            other => panic!("{other:?} in base/access.yaml"),
        };
        if plural == "rolebindings" {
            // As kustomize does.
            object["subjects"][0]["namespace"] = json!(namespace);
        }
        let path = format!("/{prefix}/namespaces/{namespace}/{plural}");
        bench.hand.call(&Method::POST, &path, &object).expect("an object");
    }
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{NAME}/token");
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let answer = bench.hand.call(&Method::POST, &path, &request).expect("the account");
    answer["status"]["token"].as_str().expect("a token").to_owned()
}

/// The bench's cluster with this token and no other credentials.
fn kubeconfig(bench: &Bench, token: &str) -> PathBuf {
    let mut file = bench.read_kubeconfig();
    for user in &mut file.auth_infos {
        user.auth_info = Some(AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() });
    }
    // JSON is YAML.
    let text = serde_json::to_string(&file as &Kubeconfig).expect("a kubeconfig");
    bench.scratch.write("kubeconfig-account", &text)
}

#[test]
fn the_shipped_role_and_the_token_of_its_account_are_all_that_is_needed() {
    let server = ApiServer::start();
    serves(&Bench::on(&server));
    assert_eq!(
        server.job_calls(),
        [
            "POST jobs/thing-one 201",
            "LIST pods 200",
            "POST jobs/thing-late 201",
            "LIST pods 200",
            "LIST events 200",
            "POST jobs/thing-back 201",
            "PATCH jobs/thing-back 200",
            "DELETE jobs/thing-back 200",
        ]
    );
}
