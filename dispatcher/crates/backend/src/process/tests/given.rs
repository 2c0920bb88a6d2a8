//! What a Job is given: its binary, its environment, its Secrets.

use super::*;
use crate::{Failure, FailureClass};
use rules::plan::{EnvFrom, KeyRef};

fn refused(ran: &Ran, expected: FailureClass) -> &str {
    match &ran.outcome {
        Outcome::Failed(Failure { class, message, exit_code: None, .. }) if *class == expected => message,
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
    // The shell itself sets PWD, SHLVL and _.
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
        backend.run(&job, EndedJobPolicy::Replace, anywhere(), &ground.stop).await;
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
    let text = refused(&ran, FailureClass::ConfigurationError);
    assert!(text.contains("Secret absent") && text.contains("--secret absent=FILE"), "{text}");
    job.spec.env_from.clear();
    let key = KeyRef { name: "config".into(), key: "B".into(), optional: false };
    job.spec.env.push(EnvVariable { name: "MINE".into(), value: EnvValue::SecretKey(key) });
    let ran = ground.run(&job).await;
    assert_eq!(refused(&ran, FailureClass::ConfigurationError), "the Secret config has no key B");
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
    assert!(refused(&ran, FailureClass::ConfigurationError).starts_with("COMPANY_DATA has 131072 bytes"));
    assert_eq!(ground.counted("began"), 0);
}

#[tokio::test]
async fn a_missing_binary_is_named_with_its_remedy() {
    let ground = Ground::new();
    let mut job = job(&ground, "");
    job.spec.command.clear();
    let ran = ground.run(&job).await;
    let text = refused(&ran, FailureClass::ImageNotFound);
    assert!(text.contains("bin/worker") && text.contains("--image knapscen/worker:latest=PATH"), "{text}");
}

#[tokio::test]
async fn a_binary_that_is_being_replaced_is_waited_for_and_uses_up_no_attempt() {
    use std::os::unix::fs::PermissionsExt;
    let mut ground = Ground::new();
    ground.settings.absent = Absent::new(Duration::from_mins(1));
    let mut job = job(&ground, "");
    job.spec.command.clear();
    let bin = ground.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let binary = bin.join("worker");
    let put = |text: &str, mode: u32| {
        std::fs::write(&binary, text).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (what, text, mode) in
        [("gone", None, 0), ("not yet executable", Some("#!/bin/sh\n"), 0o600), ("half", Some(""), 0o755)]
    {
        drop(std::fs::remove_file(&binary));
        if let Some(text) = text {
            put(text, mode);
        }
        let ran = ground.run(&job).await;
        let Outcome::TryAgain(Failure { class, .. }) = &ran.outcome else { panic!("{what}: {ran:?}") };
        assert!(*class == FailureClass::ImageReplaced && !class.uses_an_attempt(), "{what}");
    }
    put("#!/bin/sh\nexit 0\n", 0o755);
    assert!(matches!(ground.run(&job).await.outcome, Outcome::Complete { .. }));
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
    // The same event again, after the missing thing was added.
    job.spec.command = command;
    assert!(matches!(ground.run(&job).await.outcome, Outcome::Complete { .. }));
}
