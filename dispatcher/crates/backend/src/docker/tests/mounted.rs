//! Secrets and `ConfigMap`s that a Job mounts.

use super::proxy::{Mode, Proxy};
use super::*;
use crate::Source;

/// A Job that mounts these volumes at `/<name of the volume>`, with a user that may write nothing.
fn mounting(ground: &Ground, script: &str, volumes: &Value) -> PlannedJob {
    let mut job = job(ground, script);
    let mount = |volume: &Value| {
        let name = volume["name"].as_str().unwrap();
        json!({"name": name, "mountPath": format!("/{name}")})
    };
    let mounts: Vec<_> = volumes.as_array().unwrap().iter().map(mount).collect();
    let walls = json!({"runAsUser": 65532, "runAsGroup": 65532, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    pod(
        &mut job,
        &json!({
            "securityContext": {"fsGroup": 2000}, "volumes": volumes,
            "containers": [{"name": "worker", "volumeMounts": mounts, "securityContext": walls}],
        }),
    );
    job
}

#[tokio::test]
async fn secrets_and_config_maps_are_files_that_the_container_reads_and_cannot_change() {
    let Some(ground) = Ground::new().await else { return };
    let mut ground = ground.secret("login", "USER=me\nPASSWORD=hunter2\n");
    let map = ground.path().join("rates.yaml");
    std::fs::write(&map, "kind: ConfigMap\ndata:\n  rates: all\nbinaryData:\n  raw: cmF3\n").unwrap();
    ground.settings.sources.config_maps.insert("rates".to_owned(), Source(map));
    let script = "cat /login/deep/down/password /rates/raw; echo; ls -ln /login /login/deep/down /absent; \
        (echo x > /login/new) 2>&1; (echo x > /rates/rates) 2>&1; exit 0";
    let job = mounting(
        &ground,
        script,
        &json!([
            {"name": "login", "secret": {
                "secretName": "login", "defaultMode": 256,
                "items": [{"key": "USER", "path": "user", "mode": 420}, {"key": "PASSWORD", "path": "deep/down/password"}],
            }},
            {"name": "rates", "configMap": {"name": "rates"}},
            {"name": "absent", "secret": {"secretName": "absent", "optional": true}},
        ]),
    );
    assert!(is_complete(&ground.run(&job).await));
    let seen = ground.backend().logs("default", "user-saved-1").await.unwrap().unwrap();
    assert!(seen.starts_with("hunter2raw\n"), "{seen}");
    let lines: Vec<Vec<_>> = seen.lines().map(|line| line.split_whitespace().collect()).collect();
    for expected in [["-rw-r--r--", "1", "0", "2000", "2"], ["-r--r-----", "1", "0", "2000", "7"]] {
        assert!(lines.iter().any(|line| line.starts_with(&expected)), "{seen}");
    }
    assert_eq!(seen.matches("Permission denied").count(), 2, "{seen}");

    let mounted = ground.inspect(&job).await.unwrap().mounts.unwrap();
    let volumes: Vec<_> = mounted.into_iter().filter_map(|mount| mount.name).collect();
    assert_eq!(volumes.len(), 4, "three, and that of the termination message: {volumes:?}");
    ground.backend().delete(&job.identity).await.unwrap();
    for volume in volumes {
        assert!(ground.engine.inspect_volume(&volume).await.is_err(), "{volume} is left behind");
    }
}

#[tokio::test]
async fn what_is_not_given_is_named_and_leaves_nothing() {
    let Some(ground) = Ground::new().await else { return };
    let ground = ground.secret("login", "USER=me\n");
    for (volume, expected) in [
        (json!({"name": "x", "secret": {"secretName": "nowhere"}}), "--secret nowhere=FILE"),
        (json!({"name": "x", "configMap": {"name": "nowhere"}}), "--config-map nowhere=FILE"),
        (
            json!({"name": "x", "secret": {"secretName": "login", "items": [{"key": "PASSWORD", "path": "p"}]}}),
            "the Secret login has no key PASSWORD",
        ),
        (
            json!({"name": "x", "secret": {"secretName": "login", "items": [{"key": "USER", "path": "../p"}]}}),
            "no path inside a volume",
        ),
    ] {
        let ran = ground.run(&mounting(&ground, "exit 0", &json!([volume]))).await;
        let Outcome::Failed(Failure { class: FailureClass::ConfigurationError, message, .. }) = &ran.outcome
        else {
            panic!("{expected}: {ran:?}")
        };
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(ground.containers().await, 0);
}

#[tokio::test]
async fn a_container_that_cannot_be_filled_goes_and_the_event_may_come_again() {
    let Some(ground) = Ground::new().await else { return };
    let mut ground = ground.secret("login", "USER=me\n");
    for status in [404, 500] {
        let proxy = Proxy::before(&ground.settings.host, Mode::AnswerTo("/archive", status)).await;
        let host = std::mem::replace(&mut ground.settings.host, proxy.address.clone());
        let mounting =
            mounting(&ground, "exit 0", &json!([{"name": "login", "secret": {"secretName": "login"}}]));
        let ran = ground.run(&mounting).await;
        assert!(
            matches!(ran.outcome, Outcome::TryAgain(Failure { class: FailureClass::BackendError, .. })),
            "{ran:?}"
        );
        assert!(message(&ran.outcome).contains("were not put into its container: no!"), "{ran:?}");
        assert_eq!(ground.containers().await, 0);
        ground.settings.host = host;
    }
}

#[tokio::test]
async fn a_container_that_was_made_just_before_the_crash_is_filled_by_the_next_dispatcher() {
    let Some(ground) = Ground::new().await else { return };
    let ground = ground.secret("login", "USER=me\n");
    let job =
        mounting(&ground, "cat /login/USER", &json!([{"name": "login", "secret": {"secretName": "login"}}]));
    ground.made(&job, "another").await;
    let ran = ground.run(&job).await;
    assert!(is_complete(&ran) && ran.adopted, "{ran:?}");
    assert_eq!(ground.backend().logs("default", "user-saved-1").await.unwrap().unwrap(), "me");
}
