//! What a container is given: variables, isolation and names; and what is refused.

use std::collections::BTreeSet;

use super::*;
use rules::plan::{EnvFrom, EnvValue, EnvVariable, KeyRef};

#[tokio::test]
async fn variables_and_secrets_arrive() {
    let Some(ground) = Ground::new().await else { return };
    let ground = ground.secret("config", "DB_HOST=db\nDB_PASSWORD=it's $(secret)\n");
    let mut job = job(&ground, "env");
    job.spec.env_from = vec![EnvFrom::Secret { name: "config".into(), optional: false, prefix: "X_".into() }];
    let key = KeyRef { name: "config".into(), key: "DB_HOST".into(), optional: false };
    job.spec.env = vec![
        EnvVariable { name: "HOST".into(), value: EnvValue::SecretKey(key) },
        EnvVariable { name: "URL".into(), value: EnvValue::Literal("mysql://$(HOST) $$(HOST)".into()) },
    ];
    assert!(is_complete(&ground.run(&job).await));
    let seen = ground.backend().logs("default", "user-saved-1").await.unwrap().unwrap();
    let mut lines: Vec<_> = seen.lines().filter(|line| !line.starts_with("HOSTNAME=")).collect();
    lines.sort_unstable();
    let expected = [
        "HOME=/",
        "HOST=db",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD=/",
        "SHLVL=1",
        "TERMINATION_LOG=/run/termination/message",
        "URL=mysql://db $(HOST)",
        "X_DB_HOST=db",
        "X_DB_PASSWORD=it's $(secret)",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn the_walls_of_the_job_are_those_of_its_container() {
    let Some(ground) = Ground::new().await else { return };
    let mut job = job(&ground, "id; echo x 2>&1 > /file; echo y > /work/file && cat /work/file");
    pod(
        &mut job,
        &json!({
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1001, "supplementalGroups": [2000],
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "hostAliases": [{"ip": "127.0.0.9", "hostnames": ["database"]}],
            "volumes": [{"name": "work", "emptyDir": {"sizeLimit": "1Mi"}}],
            "containers": [{
                "name": "worker",
                "resources": {"requests": {"cpu": "25m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
                "volumeMounts": [{"name": "work", "mountPath": "/work"}],
                "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                                    "runAsUser": 65532, "capabilities": {"drop": ["ALL"]}},
            }],
        }),
    );
    job.identity.event_id = "é".repeat(40_000);
    let mut ground = ground;
    ground.settings.labels.insert("com.example/stack".into(), "mine".into());
    assert!(is_complete(&ground.run(&job).await));
    let found = ground.inspect(&job).await.unwrap();
    let (config, host) = (found.config.unwrap(), found.host_config.unwrap());
    assert_eq!(config.user.as_deref(), Some("65532:1001"));
    assert_eq!(host.readonly_rootfs, Some(true));
    assert_eq!(host.security_opt, Some(vec!["no-new-privileges:true".to_owned()]));
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
    assert_eq!(
        (host.memory_reservation, host.nano_cpus, host.cpu_shares),
        (Some(16 << 20), Some(500_000_000), Some(26))
    );
    assert_eq!(host.pids_limit, Some(1024));
    let log = host.log_config.unwrap();
    assert_eq!(log.typ.as_deref(), Some("json-file"));
    assert!(
        log.config.is_some_and(|bounds| bounds.contains_key("max-size") && bounds.contains_key("max-file"))
    );
    assert_eq!(host.network_mode.as_deref(), Some("none"));
    assert_eq!(host.group_add, Some(vec!["2000".to_owned()]));
    assert_eq!(host.extra_hosts, Some(vec!["database:127.0.0.9".to_owned()]));
    assert_eq!(host.privileged, Some(false));
    let labels = config.labels.unwrap();
    for (label, value) in [
        ("dispatcher.knapscen.disco/identity", job.identity.hash().as_str()),
        ("dispatcher.knapscen.disco/event", job.identity.event_hash().as_str()),
        ("dispatcher.knapscen.disco/trigger", "user-saved-trigger"),
        ("dispatcher.knapscen.disco/namespace", "default"),
        ("dispatcher.knapscen.disco/name", "user-saved-1"),
        ("dispatcher.knapscen.disco/event-id", &"é".repeat(128)),
        ("dispatcher.knapscen.disco/try", "1"),
        ("dispatcher.knapscen.disco/scope", &ground.settings.scope),
        ("com.example/stack", "mine"),
    ] {
        assert_eq!(labels.get(label).map(String::as_str), Some(value), "{label}");
    }
    let said = ground.backend().logs("default", "user-saved-1").await.unwrap().unwrap();
    assert!(said.contains("uid=65532 gid=1001 groups=1001,2000"), "{said}");
    assert!(said.contains("Read-only file system") && said.ends_with("y\n"), "{said}");
}

#[tokio::test]
async fn what_a_container_cannot_be_is_refused_by_its_field() {
    let Some(ground) = Ground::new().await else { return };
    let cases = [
        (
            json!({"volumes": [{"name": "x", "hostPath": {"path": "/"}}], "containers": []}),
            "spec.template.spec.volumes[0]",
        ),
        (
            json!({"containers": [{"name": "w", "securityContext": {"seLinuxOptions": {}}}]}),
            "spec.template.spec.containers[0].securityContext.seLinuxOptions",
        ),
        (
            json!({"containers": [{"name": "w", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}),
            "spec.template.spec.containers[0].resources.limits.nvidia.com/gpu",
        ),
        (
            json!({"containers": [{"name": "w", "resources": {"limits": {"memory": "lots"}}}]}),
            "\"lots\" is no quantity",
        ),
        (json!({"containers": [{"name": "w", "securityContext": {"runAsGroup": 1}}]}), "needs runAsUser"),
        (
            json!({"containers": [{"name": "w", "securityContext": {"runAsUser": 0, "runAsNonRoot": true}}]}),
            "runAsNonRoot",
        ),
        // The tests' image runs as root.
        (json!({"containers": [{"name": "w", "securityContext": {"runAsNonRoot": true}}]}), "runs as \"\""),
    ];
    for (spec, expected) in cases {
        let mut job = job(&ground, "exit 0");
        pod(&mut job, &spec);
        let ran = ground.run(&job).await;
        let Outcome::Failed(Failure { class: FailureClass::ConfigurationError, message, .. }) = &ran.outcome
        else {
            panic!("{expected}: {ran:?}")
        };
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(ground.containers().await, 0);
}

#[tokio::test]
async fn a_missing_image_is_named_with_its_remedy_and_is_for_good() {
    let Some(ground) = Ground::new().await else { return };
    let mut job = job(&ground, "exit 0");
    job.spec.image = "knapscen-test/nowhere:1".to_owned();
    pod(&mut job, &json!({"containers": [{"name": "w", "imagePullPolicy": "Never"}]}));
    let ran = ground.run(&job).await;
    let Outcome::Failed(Failure { class: FailureClass::ImageNotFound, message, .. }) = &ran.outcome else {
        panic!("{ran:?}")
    };
    assert!(message.contains("knapscen-test/nowhere:1") && message.contains("build it"), "{message}");
    assert_eq!((ran.tries, ground.containers().await), (0, 0));
}

#[tokio::test]
async fn a_program_that_the_image_has_not_is_named_and_leaves_nothing() {
    let Some(ground) = Ground::new().await else { return };
    let mut job = job(&ground, "");
    job.spec.command = vec!["/nowhere".to_owned()];
    let ran = ground.run(&job).await;
    assert!(
        matches!(ran.outcome, Outcome::Failed(Failure { class: FailureClass::ConfigurationError, .. })),
        "{ran:?}"
    );
    assert!(message(&ran.outcome).contains("/nowhere"), "{ran:?}");
    assert_eq!(ground.containers().await, 0);
}

#[tokio::test]
async fn a_missing_network_is_named_with_its_option_and_may_come_later() {
    let Some(mut ground) = Ground::new().await else { return };
    ground.settings.network = Some("knapscen-test-nowhere".to_owned());
    let ran = ground.run(&job(&ground, "exit 0")).await;
    assert!(matches!(ran.outcome, Outcome::TryAgain(_)), "{ran:?}");
    let said = message(&ran.outcome);
    assert!(said.contains("knapscen-test-nowhere") && said.contains("--docker-network"), "{said}");
    assert_eq!(ground.containers().await, 0);
}

#[tokio::test]
async fn a_deleted_job_is_gone_running_or_not() {
    let Some(ground) = Ground::new().await else { return };
    let job = job(&ground, "exit 0");
    ground.run(&job).await;
    assert_eq!(ground.containers().await, 1);
    ground.backend().delete(&identity("another event of the same thing")).await.unwrap();
    assert_eq!(ground.containers().await, 0);
    assert_eq!(ground.backend().logs("default", "user-saved-1").await.unwrap(), None);
    ground.backend().delete(&job.identity).await.unwrap();
}

#[tokio::test]
async fn complete_containers_of_jobs_that_are_not_rendered_any_more_go() {
    let Some(ground) = Ground::new().await else { return };
    let named = |name: &str, script: &str| PlannedJob { name: name.to_owned(), ..job(&ground, script) };
    for (name, script) in [("kept", "exit 0"), ("old", "exit 0"), ("failed", "exit 65")] {
        ground.run(&named(name, script)).await;
    }
    let kept = BTreeSet::from([("default".to_owned(), "kept".to_owned())]);
    ground.backend().prune(&identity("another event of the same thing"), &kept).await.unwrap();
    assert_eq!(ground.containers().await, 2);
    assert!(ground.backend().logs("default", "kept").await.unwrap().is_some());
    assert_eq!(ground.backend().logs("default", "old").await.unwrap(), None);
}
