//! Running twice equals running once: after a crash, for a second delivery, for another event with the same name.

use super::ground::WAIT_FOR_GO;
use super::proxy::{Mode, Proxy};
use super::*;

/// A dispatcher that is killed while its Job runs: the future is dropped, and the container lives on.
async fn crash_during(ground: &Ground, job: &PlannedJob) -> String {
    let backend = ground.backend();
    tokio::select! {
        ran = backend.run(job, EndedJobPolicy::Replace, anywhere(), &ground.stop) => panic!("{ran:?}"),
        id = ground.running(job, 1) => id,
    }
}

#[tokio::test]
async fn a_container_that_outlives_its_dispatcher_is_awaited_and_not_started_again() {
    let Some(ground) = Ground::new().await else { return };
    for (code, complete) in [(0, true), (65, false)] {
        let mut job = job(&ground, WAIT_FOR_GO);
        job.name = format!("exit-{code}");
        let id = crash_during(&ground, &job).await;
        let script = format!("exit {code}");
        let (ran, ()) = tokio::join!(ground.run(&job), ground.tell(&id, &script));
        assert!(ran.adopted);
        assert_eq!((is_complete(&ran), ran.tries), (complete, 1), "{ran:?}");
        assert_eq!(ground.inspect(&job).await.unwrap().id, Some(id));
    }
}

#[tokio::test]
async fn a_container_that_ended_unseen_is_taken_at_its_word() {
    let Some(ground) = Ground::new().await else { return };
    let job = job(&ground, WAIT_FOR_GO);
    let id = crash_during(&ground, &job).await;
    ground.tell(&id, "echo the-end; exit 65").await;
    ground.ended(&job).await;
    let ran = ground.run(&job).await;
    assert_eq!((ran.adopted, message(&ran.outcome)), (true, "exit code 65: the-end"));
    let again = ground.run(&job).await;
    assert_eq!((again.adopted, &again.outcome), (true, &ran.outcome));
    assert_eq!(ground.inspect(&job).await.unwrap().id, Some(id));
}

#[tokio::test]
async fn a_container_made_just_before_the_crash_is_started_by_the_next_dispatcher() {
    let Some(ground) = Ground::new().await else { return };
    let job = job(&ground, "echo started");
    let id = ground.made(&job, "a run that crashed").await;
    let ran = ground.run(&job).await;
    assert!(ran.adopted && is_complete(&ran), "{ran:?}");
    assert_eq!(ground.inspect(&job).await.unwrap().id, Some(id));
}

#[tokio::test]
async fn two_dispatchers_start_one_container() {
    let Some(ground) = Ground::new().await else { return };
    let job = job(&ground, "sleep 0.3");
    let backends: Vec<_> = (0..4).map(|_| ground.backend()).collect();
    let runs =
        backends.iter().map(|backend| backend.run(&job, EndedJobPolicy::Replace, anywhere(), &ground.stop));
    let all = futures_util::future::join_all(runs).await;
    assert_eq!(all.iter().filter(|ran| !ran.adopted).count(), 1, "{all:?}");
    assert!(all.iter().all(is_complete), "{all:?}");
    assert!(all.iter().all(|ran| ran.tries == 1), "{all:?}");
}

#[tokio::test]
async fn tries_of_two_dispatchers_follow_each_other() {
    let Some(ground) = Ground::new().await else { return };
    let job = job(&ground, "exit 75");
    let (one, two) = (ground.backend(), ground.backend());
    let (one, two) = tokio::join!(
        one.run(&job, EndedJobPolicy::Replace, anywhere(), &ground.stop),
        two.run(&job, EndedJobPolicy::Replace, anywhere(), &ground.stop)
    );
    for ran in [&one, &two] {
        assert!(matches!(ran.outcome, Outcome::TryAgain(_)), "{ran:?}");
        assert!(ran.tries >= 3, "{ran:?}");
    }
    assert_eq!(ground.containers().await, 1);
}

#[tokio::test]
async fn another_event_replaces_an_ended_job_and_a_replay_is_another_event() {
    let Some(ground) = Ground::new().await else { return };
    let mut job = job(&ground, "exit 0");
    let mut ids = vec![];
    for (event, replay) in [("e1", 0), ("e2", 0), ("e2", 1)] {
        (job.identity.event_id, job.identity.replay) = (event.to_owned(), replay);
        let ran = ground.run(&job).await;
        assert!(!ran.adopted && is_complete(&ran), "{ran:?}");
        ids.push(ground.inspect(&job).await.unwrap().id);
    }
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    assert_eq!(ground.containers().await, 1);
}

#[tokio::test]
async fn another_event_waits_for_a_running_job() {
    let Some(ground) = Ground::new().await else { return };
    let first = job(&ground, WAIT_FOR_GO);
    let id = crash_during(&ground, &first).await;
    let mut second = job(&ground, "exit 0");
    second.identity.event_id = "e2".to_owned();
    let (ran, ()) = tokio::join!(ground.run(&second), async {
        // Time enough for a wrong implementation to start a second container.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(ground.inspect(&first).await.unwrap().id.as_ref(), Some(&id));
        ground.tell(&id, "exit 0").await;
    });
    assert!(!ran.adopted && is_complete(&ran), "{ran:?}");
    assert_ne!(ground.inspect(&second).await.unwrap().id, Some(id));
}

#[tokio::test]
async fn another_event_leaves_an_ended_job_to_whoever_follows_it() {
    let Some(mut ground) = Ground::new().await else { return };
    let (backend, mut second) = (ground.backend(), job(&ground, "exit 0"));
    second.identity.event_id = "e2".to_owned();
    // The dispatcher that follows the first container is slow to read its report.
    let proxy = Proxy::before(&ground.settings.host, Mode::Slow(Duration::from_millis(150))).await;
    ground.settings.host.clone_from(&proxy.address);
    let first = job(&ground, WAIT_FOR_GO);
    let (first, second, ()) = tokio::join!(
        ground.run(&first),
        async {
            ground.running(&first, 1).await;
            backend.run(&second, EndedJobPolicy::Replace, anywhere(), &ground.stop).await
        },
        async {
            let id = ground.running(&first, 1).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            ground.tell(&id, "echo said; exit 65").await;
        },
    );
    assert_eq!((first.tries, message(&first.outcome)), (1, "exit code 65: said"));
    assert!(is_complete(&second), "{second:?}");
}

#[tokio::test]
async fn a_hung_container_of_another_event_is_ended_at_its_deadline_and_then_replaced() {
    let Some(ground) = Ground::new().await else { return };
    crash_during(&ground, &job(&ground, WAIT_FOR_GO)).await;
    let mut second = job(&ground, "exit 0");
    second.identity.event_id = "e2".to_owned();
    second.spec.active_deadline = Some(Duration::from_secs(10));
    // Its own time limit begins only now.
    let ran = ground.run(&second).await;
    assert!(!ran.adopted && is_complete(&ran), "{ran:?}");
}

#[tokio::test]
async fn once_per_identity_means_that_no_other_event_runs_it() {
    let Some(ground) = Ground::new().await else { return };
    let mut job = job(&ground, "exit 0");
    ground.backend().run(&job, EndedJobPolicy::Keep, anywhere(), &ground.stop).await;
    let id = ground.inspect(&job).await.unwrap().id;
    job.identity.event_id = "e2".into();
    let ran = ground.backend().run(&job, EndedJobPolicy::Keep, anywhere(), &ground.stop).await;
    assert!(ran.adopted && is_complete(&ran), "{ran:?}");
    assert_eq!(ground.inspect(&job).await.unwrap().id, id);
}

#[tokio::test]
async fn a_container_that_somebody_removes_is_a_lost_try_and_not_the_end() {
    let Some(ground) = Ground::new().await else { return };
    let job = job(&ground, WAIT_FOR_GO);
    let (ran, ()) = tokio::join!(ground.run(&job), async {
        ground.remove(&ground.running(&job, 1).await).await;
        ground.tell(&ground.running(&job, 2).await, "exit 0").await;
    });
    assert!(is_complete(&ran) && !ran.adopted, "{ran:?}");
    assert_eq!(ran.tries, 2);
}

#[tokio::test]
async fn a_stranger_of_the_same_name_is_left_alone_and_named() {
    let Some(ground) = Ground::new().await else { return };
    let job = job(&ground, "exit 0");
    let id = ground.stranger(&job).await;
    let ran = ground.run(&job).await;
    assert!(message(&ran.outcome).contains("is in the way"), "{ran:?}");
    assert_eq!(ground.inspect(&job).await.unwrap().id, Some(id.clone()));
    ground.remove(&id).await;
}
