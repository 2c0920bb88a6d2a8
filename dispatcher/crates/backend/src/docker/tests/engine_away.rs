//! An engine that restarts, is slow, or is cut off in the middle of a call: nothing is lost, and nothing counts as a
//! try.

use super::ground::WAIT_FOR_GO;
use super::proxy::{Mode, Proxy};
use super::*;

#[tokio::test]
async fn an_engine_that_goes_away_while_a_job_runs_costs_no_try() {
    let Some(mut ground) = Ground::new().await else { return };
    let proxy = Proxy::before(&ground.settings.host, Mode::Pass).await;
    ground.settings.host.clone_from(&proxy.address);
    let (backend, job) = (ground.backend(), job(&ground, WAIT_FOR_GO));
    let (ran, ()) =
        tokio::join!(backend.run(&job, EndedJobPolicy::Replace, anywhere(), &ground.stop), async {
            let id = ground.running(&job, 1).await;
            proxy.set(Mode::Away);
            assert_eq!(backend.check().await.unwrap_err().class().exit_code(), 75);
            // The container ends while no dispatcher can see it.
            ground.tell(&id, "echo unseen; exit 65").await;
            ground.ended(&job).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            proxy.set(Mode::Pass);
            backend.check().await.unwrap();
        });
    assert_eq!((ran.tries, ran.adopted, message(&ran.outcome)), (1, false, "exit code 65: unseen"));
}

#[tokio::test]
async fn a_job_waits_for_an_engine_that_is_not_there_yet() {
    let Some(mut ground) = Ground::new().await else { return };
    for away in [Mode::Away, Mode::Answer(503)] {
        let proxy = Proxy::before(&ground.settings.host, away).await;
        let host = std::mem::replace(&mut ground.settings.host, proxy.address.clone());
        let mut job = job(&ground, "exit 0");
        job.identity.event_id = proxy.address.clone();
        let (ran, ()) = tokio::join!(ground.run(&job), async {
            while proxy.calls() < 5 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            proxy.set(Mode::Pass);
        });
        assert!(is_complete(&ran) && ran.tries == 1 && !ran.adopted, "{away:?} {ran:?}");
        ground.settings.host = host;
    }
}

#[tokio::test]
async fn an_answer_cut_off_at_any_call_costs_no_try_and_starts_nothing_twice() {
    let Some(mut ground) = Ground::new().await else { return };
    let host = ground.settings.host.clone();
    let mut number = 0;
    loop {
        let proxy = Proxy::before(&host, Mode::CutAnswer(number)).await;
        ground.settings.host.clone_from(&proxy.address);
        let mut job = job(&ground, r#"echo said > "$TERMINATION_LOG""#);
        job.identity.event_id = format!("e{number}");
        let ran = ground.run(&job).await;
        let Outcome::Complete { report } = &ran.outcome else { panic!("call {number}: {ran:?}") };
        assert_eq!((report.as_str(), ran.tries, ran.adopted), ("said", 1, false), "call {number}");
        assert_eq!(ground.containers().await, 1, "call {number}");
        if proxy.calls() <= number {
            break;
        }
        number += 1;
    }
    assert!(number >= 8, "only {number} calls were cut");
}

#[tokio::test]
async fn a_slow_engine_is_waited_for() {
    let Some(mut ground) = Ground::new().await else { return };
    let proxy = Proxy::before(&ground.settings.host, Mode::Slow(Duration::from_millis(250))).await;
    ground.settings.host.clone_from(&proxy.address);
    let ran = ground.run(&job(&ground, "echo bad >&2; exit 65")).await;
    assert_eq!((ran.tries, message(&ran.outcome)), (1, "exit code 65: bad"));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_an_engine_that_is_away() {
    let Some(mut ground) = Ground::new().await else { return };
    let proxy = Proxy::before(&ground.settings.host, Mode::Away).await;
    ground.settings.host.clone_from(&proxy.address);
    ground.stopper.drain();
    let ran = ground.run(&job(&ground, "exit 0")).await;
    assert_eq!((ran.outcome, ran.tries), (Outcome::Stopped, 0));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_an_engine_that_hangs() {
    let Some(mut ground) = Ground::new().await else { return };
    let proxy = Proxy::before(&ground.settings.host, Mode::Slow(Duration::from_hours(1))).await;
    ground.settings.host.clone_from(&proxy.address);
    let job = job(&ground, "exit 0");
    let stopped = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::join!(ground.run(&job), async {
            while proxy.calls() < 1 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            ground.stopper.drain();
        })
    });
    let (ran, ()) = stopped.await.unwrap();
    assert_eq!((ran.outcome, ran.tries), (Outcome::Stopped, 0));
}

#[tokio::test]
async fn what_the_engine_misses_is_not_taken_for_the_image() {
    let Some(mut ground) = Ground::new().await else { return };
    let proxy = Proxy::before(&ground.settings.host, Mode::AnswerTo("/containers/create", 404)).await;
    ground.settings.host.clone_from(&proxy.address);
    let ran = ground.run(&job(&ground, "exit 0")).await;
    assert!(
        matches!(ran.outcome, Outcome::TryAgain(Failure { class: FailureClass::BackendError, .. })),
        "{ran:?}"
    );
    assert!(message(&ran.outcome).contains("was not started: no!"), "{ran:?}");
}

#[tokio::test]
async fn a_proxy_that_forbids_a_call_is_named_and_the_event_may_come_again() {
    let Some(mut ground) = Ground::new().await else { return };
    let proxy = Proxy::before(&ground.settings.host, Mode::AnswerTo("/containers/create", 403)).await;
    ground.settings.host.clone_from(&proxy.address);
    let ran = ground.run(&job(&ground, "exit 0")).await;
    assert!(
        matches!(ran.outcome, Outcome::TryAgain(Failure { class: FailureClass::BackendError, .. })),
        "{ran:?}"
    );
    assert!(message(&ran.outcome).contains("proxy before the engine"), "{ran:?}");
}

#[tokio::test]
async fn an_engine_that_is_nowhere_is_named_by_its_address() {
    let Some(mut ground) = Ground::new().await else { return };
    ground.settings.host = "unix:///nowhere/docker.sock".to_owned();
    let error = ground.backend().check().await.unwrap_err();
    assert_eq!(error.class().exit_code(), 75);
    assert!(error.to_string().contains("unix:///nowhere/docker.sock"), "{error}");
    for host in
        ["/var/run/docker.sock", "ssh://u:hunter2@somewhere", "tcp://u:hunter2@somewhere:1", "hunter2"]
    {
        ground.settings.host = host.to_owned();
        let error = crate::Docker::open(ground.settings.clone()).unwrap_err();
        assert_eq!(error.class().exit_code(), 78);
        let words = error.to_string();
        assert!(words.contains("--docker-host") && !words.contains("hunter2"), "{words}");
    }
}
