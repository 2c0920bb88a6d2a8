//! How a Job ends: exit codes, tries, deadline, stop.

use std::time::Duration;

use super::*;
use crate::{Failure, FailureClass};

#[tokio::test]
async fn a_job_that_ends_with_0_is_complete_and_its_last_words_are_kept() {
    let ground = Ground::new();
    let ran = ground.run(&job(&ground, r#"echo '{"exit_code":0}' > "$TERMINATION_LOG"; echo noise"#)).await;
    let Outcome::Complete { report } = ran.outcome else { panic!("{ran:?}") };
    assert_eq!(report.as_str(), r#"{"exit_code":0}"#);
    assert_eq!((ran.tries, ran.adopted), (1, false));
}

#[tokio::test]
async fn without_a_termination_message_the_last_line_of_the_output_counts() {
    let ground = Ground::new();
    let ran = ground.run(&job(&ground, "echo one; echo 'no such tier' >&2; exit 65")).await;
    assert_eq!(message(&ran.outcome), "exit code 65: no such tier");
}

#[tokio::test]
async fn exit_codes_of_the_failure_policy_end_the_job_at_once() {
    for code in [65, 70, 78] {
        let ground = Ground::new();
        let ran = ground.run(&job(&ground, &format!("exit {code}"))).await;
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
    let ground = Ground::new();
    let ran = ground.run(&job(&ground, r#"echo x >> "$HERE/tries"; exit 75"#)).await;
    assert!(
        matches!(
            ran.outcome,
            Outcome::TryAgain(Failure { class: FailureClass::BackoffLimitExceeded, exit_code: Some(75), .. })
        ),
        "{ran:?}"
    );
    assert_eq!((ran.tries, ground.counted("tries")), (3, 3));
    let ground = Ground::new();
    let ran = ground.run(&job(&ground, "exit 1")).await;
    assert!(matches!(ran.outcome, Outcome::Failed(Failure { exit_code: Some(1), .. })), "{ran:?}");
}

#[tokio::test]
async fn a_killed_try_is_followed_by_another() {
    let ground = Ground::new();
    let script = r#"echo x >> "$HERE/tries"; read -r _ second < "$HERE/tries"; [ -e "$HERE/again" ] && exit 0; : > "$HERE/again"; kill -9 $$"#;
    let job = job(&ground, script);
    let ran = ground.run(&job).await;
    assert!(matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
    assert_eq!((ran.tries, ground.counted("tries")), (2, 2));
    assert_eq!(ran.earlier.len(), 1);
    assert_eq!((ran.earlier[0].exit_code, ran.earlier[0].message.as_str()), (Some(137), "ended by signal 9"));
    // A dispatcher that adopts it knows of the first try as well.
    assert_eq!(ground.run(&job).await.earlier, ran.earlier);
}

#[tokio::test]
async fn a_job_past_its_deadline_is_ended_with_its_whole_group() {
    let ground = Ground::new();
    let script = r#"trap '' TERM; /bin/sleep 600 & echo $! > "$HERE/grandchild"; wait; wait; /bin/sleep 600"#;
    let mut job = job(&ground, script);
    job.spec.active_deadline = Some(Duration::from_millis(300));
    let ran = ground.run(&job).await;
    assert!(
        matches!(ran.outcome, Outcome::TryAgain(Failure { class: FailureClass::DeadlineExceeded, .. })),
        "{ran:?}"
    );
    let grandchild = ground.file("grandchild").await;
    // The process was told to end; the kernel may need a moment.
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", grandchild.trim())).unwrap_or_default();
    for _ in 0..500 {
        if stat().is_empty() || stat().contains(") Z ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it still runs: {}", stat());
}

#[tokio::test]
async fn a_stop_lets_a_job_finish_and_ends_it_after_the_grace_time() {
    let ground = Ground::new();
    let slow = job(&ground, r#": > "$HERE/began"; echo x > "$HERE/began"; /bin/sleep 0.2; exit 0"#);
    let (ran, ()) = tokio::join!(ground.run(&slow), async {
        ground.file("began").await;
        ground.stopper.drain();
    });
    assert!(matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");

    let ground = Ground::new();
    let hung = job(&ground, r#"echo x > "$HERE/began"; while :; do /bin/sleep 1; done"#);
    let (ran, ()) = tokio::join!(ground.run(&hung), async {
        ground.file("began").await;
        ground.stopper.end();
    });
    assert_eq!(ran.outcome, Outcome::Stopped);
    // What was handed back runs again, for the same event.
    let next = Ground { stop: channel().1, ..ground };
    let ran = next.run(&job(&next, "exit 0")).await;
    assert_eq!((ran.adopted, ran.outcome), (false, Outcome::Complete { report: crate::Report::default() }));
}

/// A Job that does not end when it is asked to, before there is a file `go`.
const BUSY: &str =
    r#"trap '' TERM; echo x >> "$HERE/began"; while [ ! -e "$HERE/go" ]; do /bin/sleep 0.02; done"#;

#[tokio::test]
async fn what_does_not_end_at_a_stop_is_left_to_the_next_dispatcher_and_its_failure_does_not_count() {
    for (code, runs) in [(0, 1), (75, 2)] {
        let ground = Ground::new();
        let script = format!(
            r#"{BUSY}; [ $(wc -l < "$HERE/began") = 2 ] && exit 0; echo '{{"exit_code":{code}}}' > "$TERMINATION_LOG"; exit {code}"#
        );
        let mut job = job(&ground, &script);
        job.spec.backoff_limit = 0;
        let (ran, ()) = tokio::join!(ground.run(&job), async {
            ground.file("began").await;
            ground.stopper.end();
        });
        assert_eq!(ran.outcome, Outcome::Stopped);
        let mut next = Ground { stop: channel().1, ..ground };
        let (mut ran, ()) = tokio::join!(next.run(&job), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            std::fs::write(next.path().join("go"), "").unwrap();
        });
        assert!(ran.adopted, "{ran:?}");
        if runs == 2 {
            assert_eq!(ran.outcome, Outcome::Stopped, "it is no failure");
            next.stop = channel().1;
            ran = next.run(&job).await;
        }
        assert!(matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
        assert_eq!((ran.tries, next.counted("began")), (1, runs));
    }
}

#[tokio::test]
async fn a_dispatcher_that_leaves_no_jobs_kills_what_does_not_end_at_a_stop() {
    let mut ground = Ground::new();
    ground.settings.leaves_jobs = false;
    let job = job(&ground, &format!("echo $$ > \"$HERE/pid\"; {BUSY}"));
    let (ran, ()) = tokio::join!(ground.run(&job), async {
        ground.file("began").await;
        ground.stopper.end();
    });
    assert_eq!(ran.outcome, Outcome::Stopped);
    let pid: i32 = ground.file("pid").await.trim().parse().unwrap();
    assert_ne!(crate::process::identity::ProcessId::of(pid).is_alive(), Some(true));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_next_try() {
    let mut ground = Ground::new();
    ground.settings.backoff = Duration::from_mins(10);
    let failing = job(&ground, r#"echo x > "$HERE/began"; exit 75"#);
    let (ran, ()) = tokio::join!(ground.run(&failing), async {
        ground.file("began").await;
        ground.stopper.drain();
    });
    assert_eq!(ran.outcome, Outcome::Stopped);
}

#[tokio::test]
async fn what_a_job_leaves_running_ends_with_it() {
    let ground = Ground::new();
    let ran = ground.run(&job(&ground, "sleep 60 & echo $! > $HERE/child")).await;
    assert!(matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
    let pid: i32 = ground.file("child").await.trim().parse().unwrap();
    for _ in 0..1000 {
        if crate::process::identity::ProcessId::of(pid).is_alive() != Some(true) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{pid} still runs");
}

#[tokio::test]
async fn a_termination_message_is_cut_at_4096_bytes_and_needs_no_utf_8() {
    let ground = Ground::new();
    let script = r#"head -c 100000 /dev/zero | tr '\0' '\377' > "$TERMINATION_LOG""#;
    let Outcome::Complete { report } = ground.run(&job(&ground, script)).await.outcome else { panic!() };
    assert!((4000..=4096).contains(&report.as_str().len()), "{}", report.as_str().len());
}

#[tokio::test]
async fn a_deadline_beyond_every_clock_is_none() {
    let ground = Ground::new();
    let mut job = job(&ground, "exit 0");
    job.spec.active_deadline = Some(Duration::from_secs(u64::MAX));
    assert!(matches!(ground.run(&job).await.outcome, Outcome::Complete { .. }));
}

#[tokio::test]
async fn the_output_of_the_newest_try_is_kept_and_its_end_is_shown() {
    let ground = Ground::new();
    let script = r#"echo try >> "$HERE/tries"; n=$(wc -l < "$HERE/tries"); echo "this is try $n"
        head -c 100000 /dev/zero | tr '\0' x; echo; echo "end of $n"; [ "$n" = 2 ]"#;
    ground.run(&job(&ground, script)).await;
    let logs = ground.backend().logs("default", "user-saved-1").await.unwrap().unwrap();
    assert!(logs.ends_with("end of 2\n") && !logs.contains("this is"), "{logs:.100}");
    assert_eq!(logs.len() as u64, crate::MAX_LOGS);
    assert_eq!(ground.backend().logs("default", "never").await.unwrap(), None);
    assert!(ground.backend().logs("..", "/../etc").await.is_err());
}
