//! How a Job ends: exit codes, tries, termination message.

use super::ground::WAIT_FOR_GO;
use super::*;

#[tokio::test]
async fn a_job_that_ends_with_0_is_complete_and_its_last_words_are_kept() {
    let Some(ground) = Ground::new().await else { return };
    let ran = ground.run(&job(&ground, r#"echo '{"exit_code":0}' > "$TERMINATION_LOG"; echo noise"#)).await;
    let Outcome::Complete { report } = &ran.outcome else { panic!("{ran:?}") };
    assert_eq!(report.as_str(), r#"{"exit_code":0}"#);
    assert_eq!((ran.tries, ran.adopted), (1, false));
    assert!(ran.started_at.is_some());
}

#[tokio::test]
async fn without_a_termination_message_the_last_line_of_the_output_counts() {
    let Some(ground) = Ground::new().await else { return };
    let ran = ground.run(&job(&ground, "echo one; sleep 0.1; echo 'no such tier' >&2; exit 65")).await;
    assert_eq!(message(&ran.outcome), "exit code 65: no such tier");
}

#[tokio::test]
async fn a_termination_message_where_the_job_wants_it_is_read_and_cut() {
    let Some(ground) = Ground::new().await else { return };
    let mut job = job(
        &ground,
        "head -c 9000 /dev/zero | while read -r -n 1 _; do :; done; i=0; while [ $i -lt 500 ]; do echo 0123456789abcdef; i=$((i+1)); done > /out/words/last",
    );
    job.spec.termination_message_path = "/out/words/last".to_owned();
    let ran = ground.run(&job).await;
    let Outcome::Complete { report } = &ran.outcome else { panic!("{ran:?}") };
    assert_eq!(report.as_str().len(), 4096);
    assert!(report.as_str().starts_with("0123456789abcdef\n"));
}

#[tokio::test]
async fn exit_codes_of_the_failure_policy_end_the_job_at_once() {
    let Some(ground) = Ground::new().await else { return };
    for code in [65, 70, 78] {
        let mut job = job(&ground, &format!("exit {code}"));
        job.name = format!("exit-{code}");
        let ran = ground.run(&job).await;
        let expected = (FailureClass::PodFailurePolicy, Some(code));
        assert!(
            matches!(ran.outcome, Outcome::Failed(Failure { class, exit_code, .. }) if (class, exit_code) == expected),
            "{ran:?}"
        );
        assert_eq!(ran.tries, 1);
    }
}

#[tokio::test]
async fn other_failures_are_tried_again_up_to_the_backoff_limit() {
    let Some(ground) = Ground::new().await else { return };
    let ran = ground.run(&job(&ground, "exit 75")).await;
    assert!(
        matches!(
            ran.outcome,
            Outcome::TryAgain(Failure { class: FailureClass::BackoffLimitExceeded, exit_code: Some(75), .. })
        ),
        "{ran:?}"
    );
    assert_eq!((ran.tries, ran.adopted), (3, false));
    let mut job = job(&ground, "exit 1");
    job.name = "other".to_owned();
    job.spec.backoff_limit = 0;
    let ran = ground.run(&job).await;
    assert!(matches!(ran.outcome, Outcome::Failed(Failure { exit_code: Some(1), .. })), "{ran:?}");
}

#[tokio::test]
async fn a_killed_container_is_followed_by_another() {
    let Some(ground) = Ground::new().await else { return };
    let job = job(&ground, WAIT_FOR_GO);
    let (ran, ()) = tokio::join!(ground.run(&job), async {
        ground.kill(&ground.running(&job, 1).await).await;
        ground.tell(&ground.running(&job, 2).await, "exit 0").await;
    });
    assert!(is_complete(&ran), "{ran:?}");
    assert_eq!((ran.tries, ground.containers().await), (2, 1));
}

#[tokio::test]
async fn a_job_that_is_killed_each_time_may_do_better_later() {
    let Some(ground) = Ground::new().await else { return };
    // The first process of a container cannot kill itself. Its child can, and the first process ends with the child's
    // code.
    let mut job = job(&ground, "sh -c 'kill -9 $$'; exit $?");
    job.spec.backoff_limit = 0;
    let ran = ground.run(&job).await;
    assert!(matches!(ran.outcome, Outcome::TryAgain(Failure { exit_code: Some(137), .. })), "{ran:?}");
    assert!(message(&ran.outcome).contains("signal 9"), "{ran:?}");
}

#[tokio::test]
async fn a_job_that_the_engine_lost_may_do_better_later() {
    let Some(ground) = Ground::new().await else { return };
    // The exit code that the engine reports for a container that ended while the engine was not running.
    let mut job = job(&ground, "exit 255");
    job.spec.backoff_limit = 0;
    let ran = ground.run(&job).await;
    assert!(matches!(ran.outcome, Outcome::TryAgain(Failure { exit_code: Some(255), .. })), "{ran:?}");
}

#[tokio::test]
async fn a_job_that_takes_too_much_memory_is_named_as_such() {
    let Some(ground) = Ground::new().await else { return };
    let mut job = job(&ground, "exec tail /dev/zero");
    job.spec.backoff_limit = 0;
    pod(&mut job, &json!({"containers": [{"name": "w", "resources": {"limits": {"memory": "8Mi"}}}]}));
    let ran = ground.run(&job).await;
    assert!(matches!(ran.outcome, Outcome::TryAgain(Failure { exit_code: Some(137), .. })), "{ran:?}");
    assert!(message(&ran.outcome).contains("out of memory"), "{ran:?}");
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_ended_with_grace_and_may_be_tried_again() {
    let Some(ground) = Ground::new().await else { return };
    let mut job =
        job(&ground, "trap 'echo ended > $TERMINATION_LOG; exit 75' TERM; while :; do sleep 0.05; done");
    // Long enough for the shell to set its trap on a busy machine.
    job.spec.active_deadline = Some(Duration::from_secs(5));
    job.spec.grace = Duration::from_mins(1);
    let ran = ground.run(&job).await;
    let Outcome::TryAgain(Failure { class: FailureClass::DeadlineExceeded, exit_code, report, .. }) =
        &ran.outcome
    else {
        panic!("{ran:?}")
    };
    assert_eq!((*exit_code, report.as_str(), ran.tries), (Some(75), "ended", 1));
    // The redelivery starts another run.
    job.spec.command[2] = "exit 0".to_owned();
    let ran = ground.run(&job).await;
    assert!(is_complete(&ran) && !ran.adopted, "{ran:?}");
}

#[tokio::test]
async fn a_job_that_does_not_listen_is_killed_after_its_grace_time() {
    let Some(ground) = Ground::new().await else { return };
    let mut job = job(&ground, "while :; do sleep 0.05; done");
    job.spec.active_deadline = Some(Duration::from_secs(2));
    let ran = ground.run(&job).await;
    let Outcome::TryAgain(Failure { class: FailureClass::DeadlineExceeded, exit_code: Some(137), .. }) =
        &ran.outcome
    else {
        panic!("{ran:?}")
    };
}

#[tokio::test]
async fn the_deadline_ends_the_wait_between_two_tries() {
    let Some(mut ground) = Ground::new().await else { return };
    ground.settings.backoff = Duration::from_mins(5);
    let mut job = job(&ground, "exit 75");
    job.spec.active_deadline = Some(Duration::from_secs(3));
    let ran = ground.run(&job).await;
    let Outcome::TryAgain(Failure { class: FailureClass::DeadlineExceeded, exit_code: Some(75), .. }) =
        &ran.outcome
    else {
        panic!("{ran:?}")
    };
    assert_eq!(ran.tries, 1);
}

#[tokio::test]
async fn a_stop_hands_the_job_back_and_leaves_its_container_to_the_next_dispatcher() {
    let Some(ground) = Ground::new().await else { return };
    let job = job(&ground, WAIT_FOR_GO);
    let (ran, id) = tokio::join!(ground.run(&job), async {
        let id = ground.running(&job, 1).await;
        ground.stopper.drain();
        tokio::time::sleep(Duration::from_millis(50)).await;
        ground.stopper.end();
        id
    });
    assert_eq!((ran.outcome, ran.tries), (Outcome::Stopped, 1));
    let (_stopper, stop) = job::stop::channel();
    let backend = ground.backend();
    let (ran, ()) = tokio::join!(
        backend.run(&job, EndedJobPolicy::Replace, anywhere(), &stop),
        ground.tell(&id, "exit 0")
    );
    assert!(is_complete(&ran) && ran.adopted, "{ran:?}");
}
