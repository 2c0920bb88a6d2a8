//! What stays after the end of a Job, and how long.

use std::time::SystemTime;

use super::*;
use crate::MAX_LOGS;
use crate::docker::tidy::sweep;

#[tokio::test]
async fn the_end_of_the_output_is_kept_and_a_job_that_never_was_has_none() {
    let Some(ground) = Ground::new().await else { return };
    // The two streams come through separate pipes, so pause before the end to make it the last line.
    let script =
        "i=0; while [ $i -lt 6000 ]; do echo 0123456789abcdef; i=$((i+1)); done; sleep 1; echo error >&2";
    assert!(is_complete(&ground.run(&job(&ground, script)).await));
    let backend = ground.backend();
    let seen = backend.logs("default", "user-saved-1").await.unwrap().unwrap();
    assert_eq!(seen.len() as u64, MAX_LOGS);
    assert!(seen.ends_with("0123456789abcdef\nerror\n"), "{}", &seen[seen.len() - 100..]);
    assert_eq!(backend.logs("default", "never").await.unwrap(), None);
}

#[tokio::test]
async fn an_ended_job_is_removed_when_its_time_is_over() {
    let Some(ground) = Ground::new().await else { return };
    let short = job(&ground, "exit 0");
    let mut kept = job(&ground, "exit 0");
    (kept.name, kept.spec.ttl_after_finished) = ("kept".to_owned(), None);
    ground.run(&short).await;
    ground.run(&kept).await;
    let backend = ground.backend();
    let now = SystemTime::now();
    for (seconds, left) in [(0, 2), (30, 2), (61, 1), (1_000_000, 1)] {
        assert!(sweep(&backend.0, now + Duration::from_secs(seconds)).await.is_ok());
        assert_eq!(ground.containers().await, left, "after {seconds} s");
    }
    // A Job that must never run again is remembered.
    let mut once = job(&ground, "exit 0");
    once.name = "once".to_owned();
    backend.run(&once, EndedJobPolicy::Keep, anywhere(), &ground.stop).await;
    assert!(sweep(&backend.0, now + Duration::from_secs(1_000_000)).await.is_ok());
    assert_eq!(ground.containers().await, 2);
}

#[tokio::test]
async fn a_container_that_was_made_and_never_started_goes_after_an_hour() {
    let Some(ground) = Ground::new().await else { return };
    ground.made(&job(&ground, "exit 0"), "a run that crashed").await;
    let (backend, now) = (ground.backend(), SystemTime::now());
    for (seconds, left) in [(0, 1), (90, 1), (3500, 1), (3700, 0)] {
        assert!(sweep(&backend.0, now + Duration::from_secs(seconds)).await.is_ok());
        assert_eq!(ground.containers().await, left, "after {seconds} s");
    }
}

#[tokio::test]
async fn an_ended_job_stays_for_whoever_reads_it_even_if_its_time_is_none() {
    let Some(ground) = Ground::new().await else { return };
    let mut job = job(&ground, "exit 0");
    job.spec.ttl_after_finished = Some(Duration::ZERO);
    ground.run(&job).await;
    let (backend, now) = (ground.backend(), SystemTime::now());
    for (later, left) in [(Duration::ZERO, 1), (Duration::from_secs(5), 0)] {
        assert!(sweep(&backend.0, now + later).await.is_ok());
        assert_eq!(ground.containers().await, left, "after {later:?}");
    }
}

#[tokio::test]
async fn a_job_of_another_scope_is_left_alone() {
    let (Some(ground), Some(other)) = (Ground::new().await, Ground::new().await) else { return };
    let job = job(&ground, "exit 0");
    ground.run(&job).await;
    assert!(!other.run(&job).await.adopted);
    let later = SystemTime::now() + Duration::from_hours(1);
    assert!(sweep(&other.backend().0, later).await.is_ok());
    other.backend().delete(&job.identity).await.unwrap();
    assert_eq!((ground.containers().await, other.containers().await), (1, 0));
}

#[tokio::test]
async fn a_running_job_outlives_every_sweep() {
    let Some(ground) = Ground::new().await else { return };
    let mut job = job(&ground, super::ground::WAIT_FOR_GO);
    job.spec.ttl_after_finished = Some(Duration::ZERO);
    let (ran, ()) = tokio::join!(ground.run(&job), async {
        let id = ground.running(&job, 1).await;
        let later = SystemTime::now() + Duration::from_hours(100);
        assert!(sweep(&ground.backend().0, later).await.is_ok());
        ground.tell(&id, "exit 0").await;
    });
    assert!(is_complete(&ran), "{ran:?}");
}
