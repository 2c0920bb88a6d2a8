//! What a Job is given: its binary, its environment, its Secrets.

use super::*;
use crate::backend::Cause;
use crate::plan::{EnvFrom, KeyRef};

fn refused(ran: &Ran, expected: Cause) -> &str {
    match &ran.outcome {
        Outcome::Failed { cause, message, exit_code: None, .. } if *cause == expected => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_environment_is_the_jobs_own_and_nothing_of_the_dispatchers() {
    let ground = Ground::new().secret("config", "DB_HOST=db\nHERE=overridden\n");
    let mut job = job(&ground, r#"/usr/bin/env > "$HERE/environment""#);
    job.spec.env_from =
        vec![EnvFrom::Secret { name: "config".into(), optional: false, prefix: String::new() }];
    let ran = ground.run(&job).await;
    assert!(matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
    let text = ground.file("environment").await;
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    // PWD, SHLVL and _ are the shell's own.
    names.retain(|name| !matches!(*name, "PWD" | "SHLVL" | "_" | "OLDPWD"));
    assert_eq!(names, ["DB_HOST", "HERE", "TERMINATION_LOG"]);
    assert!(text.contains("DB_HOST=db"));
}

#[tokio::test]
async fn a_changed_secret_counts_from_the_next_job_on() {
    let ground = Ground::new().secret("config", "TOKEN=one\n");
    let mut job = job(&ground, r#"echo "$MINE" > "$HERE/seen""#);
    let key = KeyRef { name: "config".into(), key: "TOKEN".into(), optional: false };
    job.spec.env.push(EnvVariable { name: "MINE".into(), value: EnvValue::SecretKey(key) });
    let backend = ground.backend();
    for (event, value) in [("e1", "one"), ("e2", "two")] {
        std::fs::write(ground.path().join("config"), format!("TOKEN={value}\n")).unwrap();
        job.identity = identity(event);
        backend.run(&job, Again::Replace, &ground.stop).await;
        assert_eq!(ground.file("seen").await.trim(), value);
    }
}

#[tokio::test]
async fn a_missing_secret_or_key_is_named_with_its_remedy() {
    let ground = Ground::new().secret("config", "A=1\n");
    let mut job = job(&ground, "exit 0");
    job.spec.env_from =
        vec![EnvFrom::Secret { name: "absent".into(), optional: false, prefix: String::new() }];
    let ran = ground.run(&job).await;
    let text = refused(&ran, Cause::ConfigurationError);
    assert!(text.contains("Secret absent") && text.contains("--secret absent=FILE"), "{text}");
    job.spec.env_from.clear();
    let key = KeyRef { name: "config".into(), key: "B".into(), optional: false };
    job.spec.env.push(EnvVariable { name: "MINE".into(), value: EnvValue::SecretKey(key) });
    let ran = ground.run(&job).await;
    assert_eq!(refused(&ran, Cause::ConfigurationError), "the Secret config has no key B");
}

#[tokio::test]
async fn optional_references_may_be_missing() {
    let ground = Ground::new();
    let mut job = job(&ground, r#"[ -z "${MINE+set}" ]"#);
    let key = KeyRef { name: "absent".into(), key: "B".into(), optional: true };
    job.spec.env.push(EnvVariable { name: "MINE".into(), value: EnvValue::SecretKey(key) });
    job.spec.env_from =
        vec![EnvFrom::ConfigMap { name: "absent".into(), optional: true, prefix: String::new() }];
    let ran = ground.run(&job).await;
    assert!(matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
}

#[tokio::test]
async fn a_variable_too_long_for_a_process_is_refused_before_anything_starts() {
    let ground = Ground::new();
    let mut job = job(&ground, r#"echo x > "$HERE/began""#);
    let long = EnvValue::Literal("x".repeat(128 * 1024));
    job.spec.env.push(EnvVariable { name: "COMPANY_DATA".into(), value: long });
    let ran = ground.run(&job).await;
    assert!(refused(&ran, Cause::ConfigurationError).starts_with("COMPANY_DATA has 131072 bytes"));
    assert_eq!(ground.counted("began"), 0);
}

#[tokio::test]
async fn a_missing_binary_is_named_with_its_remedy() {
    let ground = Ground::new();
    let mut job = job(&ground, "");
    job.spec.command.clear();
    let ran = ground.run(&job).await;
    let text = refused(&ran, Cause::ImageNotFound);
    assert!(text.contains("bin/worker") && text.contains("--image knapscen/worker:latest=PATH"), "{text}");
}

#[test]
fn an_unreadable_secret_is_refused_at_the_start() {
    let mut ground = Ground::new();
    ground.settings.sources.secrets.insert("config".into(), Source(ground.path().join("nowhere")));
    let error = Process::open(ground.settings).unwrap_err();
    assert_eq!(error.class().exit_code(), 78);
    assert!(error.to_string().contains("config"), "{error}");
}

#[tokio::test]
async fn a_job_that_could_not_start_leaves_nothing_and_the_same_event_may_come_again() {
    let ground = Ground::new();
    let mut job = job(&ground, "exit 0");
    let command = std::mem::take(&mut job.spec.command);
    assert!(!ground.run(&job).await.adopted);
    assert_eq!(ground.kept(), [] as [&str; 0]);
    // The same event again, now that what was missing is there.
    job.spec.command = command;
    assert!(matches!(ground.run(&job).await.outcome, Outcome::Complete { .. }));
}
