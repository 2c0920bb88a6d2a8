//! Running twice equals running once: after a crash, for a second delivery, for another event with the same name.

use std::collections::BTreeSet;

use super::*;
use crate::adoption::{ExistingJobAction, decide};
use crate::process::record::{Record, last};
use crate::{Failure, FailureClass, Report};

/// A dispatcher that is killed while its Job runs: the future is dropped, and the child lives on.
async fn crash_during(ground: &Ground, job: &PlannedJob) {
    let backend = ground.backend();
    tokio::select! {
        ran = backend.run(job, EndedJobPolicy::Replace, anywhere(), &ground.stop) => panic!("{ran:?}"),
        () = async { drop(ground.file("began").await); ground.pid_noted().await } => {}
    }
}

#[tokio::test]
async fn a_child_that_outlives_its_dispatcher_is_awaited_and_not_started_again() {
    for (code, complete) in [(0, true), (65, false)] {
        let ground = Ground::new();
        let script = format!(
            r#"echo x >> "$HERE/began"; while [ ! -e "$HERE/go" ]; do /bin/sleep 0.02; done; echo '{{"exit_code":{code}}}' > "$TERMINATION_LOG"; exit {code}"#
        );
        let job = job(&ground, &script);
        crash_during(&ground, &job).await;
        let (ran, ()) = tokio::join!(ground.run(&job), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            std::fs::write(ground.path().join("go"), "").unwrap();
        });
        assert!(ran.adopted);
        assert_eq!(matches!(ran.outcome, Outcome::Complete { .. }), complete, "{ran:?}");
        assert_eq!(ground.counted("began"), 1);
    }
}

#[tokio::test]
async fn a_child_that_died_without_a_word_is_tried_again() {
    let ground = Ground::new();
    let script =
        r#"echo $$ >> "$HERE/began"; [ "$(/bin/sed -n 2p "$HERE/began")" ] && exit 0; exec /bin/sleep 600"#;
    let job = job(&ground, script);
    crash_during(&ground, &job).await;
    let pid: i32 = ground.file("began").await.lines().next().unwrap().parse().unwrap();
    super::super::child::signal(pid, rustix::process::Signal::KILL);
    let ran = ground.run(&job).await;
    assert!(matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
    assert_eq!((ran.tries, ground.counted("began")), (2, 2));
}

#[tokio::test]
async fn a_child_started_just_before_the_crash_is_found_without_its_pid() {
    let ground = Ground::new();
    let script = r#"echo x >> "$HERE/began"; while [ ! -e "$HERE/go" ]; do /bin/sleep 0.02; done; echo '{"exit_code":0}' > "$TERMINATION_LOG""#;
    let job = job(&ground, script);
    crash_during(&ground, &job).await;
    // The state on disk between the start and the record of the pid.
    let path = ground.settings.state_dir.join("jobs/default.user-saved-1.json");
    let records = std::fs::read_to_string(&path).unwrap();
    let before_the_start = records.lines().find(|line| !line.is_empty()).unwrap();
    assert!(before_the_start.contains(r#""process":null"#), "{before_the_start}");
    std::fs::write(&path, before_the_start).unwrap();
    let (ran, ()) = tokio::join!(ground.run(&job), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::fs::write(ground.path().join("go"), "").unwrap();
    });
    assert!(matches!(ran.outcome, Outcome::Complete { .. }) && ran.adopted, "{ran:?}");
    assert_eq!(ground.counted("began"), 1);
}

/// A Mac has no `/proc`, and a hardened machine may hide it.
#[cfg(target_os = "linux")]
#[test]
fn all_of_this_holds_where_there_is_no_proc() {
    let (_, module) = module_path!().split_once("::").unwrap();
    let hide = r#"mount -t tmpfs none /proc && exec "$0" "$@""#;
    let with = |more: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(more).args(["--mount", "sh", "-c", hide]).arg(std::env::current_exe().unwrap());
        command.args([module, "--skip", "where_there_is_no_proc"]).output().expect("unshare")
    };
    let root = rustix::process::geteuid().is_root();
    let ended = with(if root { &[] } else { &["--map-root-user"] });
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    assert!(
        said.contains("a_child_that_outlives_its_dispatcher_is_awaited_and_not_started_again ... ok"),
        "{said}"
    );
}

#[tokio::test]
async fn a_child_of_which_nothing_is_known_is_waited_for_and_not_started_again() {
    let ground = Ground::new();
    let job = job(&ground, r#"echo x >> "$HERE/began"; exec /bin/sleep 600"#);
    crash_during(&ground, &job).await;
    let jobs = ground.settings.state_dir.join("jobs");
    let path = jobs.join("default.user-saved-1.json");
    let records = std::fs::read_to_string(&path).unwrap();
    let record = last(records.as_bytes()).unwrap();
    let pid = record.process.as_ref().unwrap().pid;
    // Its birth is not known, and its output is gone.
    let mut unborn = record;
    unborn.process = Some(serde_json::from_str(&format!(r#"{{"pid":{pid}}}"#)).unwrap());
    std::fs::write(&path, serde_json::to_string(&unborn).unwrap()).unwrap();
    std::fs::remove_file(jobs.join("default.user-saved-1.1.log")).unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(300), ground.run(&job)).await;
    assert!(waited.is_err(), "{waited:?}");
    assert_eq!(ground.counted("began"), 1);
    super::super::child::signal(pid, rustix::process::Signal::KILL);
}

#[tokio::test]
async fn half_a_line_of_a_crash_hides_neither_what_was_before_nor_what_comes() {
    let ground = Ground::new();
    let job = job(&ground, r#"echo x >> "$HERE/began""#);
    ground.run(&job).await;
    let path = ground.settings.state_dir.join("jobs/default.user-saved-1.json");
    let half = || {
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{}", &whole[..100])).unwrap();
    };
    half();
    assert!(ground.run(&job).await.adopted);
    let mut other = job.clone();
    other.identity.event_id = "e2".into();
    assert!(!ground.run(&other).await.adopted);
    assert!(ground.run(&other).await.adopted);
    assert_eq!(ground.counted("began"), 2);
}

#[tokio::test]
async fn the_record_of_a_job_that_many_events_run_stays_short() {
    let ground = Ground::new();
    let mut job = job(&ground, &format!("echo {}", "x".repeat(4000)));
    let path = ground.settings.state_dir.join("jobs/default.user-saved-1.json");
    for event in 0..40 {
        job.identity.event_id = event.to_string();
        assert!(!ground.run(&job).await.adopted);
        assert!(ground.run(&job).await.adopted);
        assert!(std::fs::metadata(&path).unwrap().len() < 80_000);
    }
}

#[tokio::test]
async fn a_second_delivery_of_the_same_event_takes_over_the_outcome() {
    let ground = Ground::new();
    let job = job(&ground, r#"echo x >> "$HERE/began"; exit 65"#);
    let first = ground.run(&job).await;
    let second = ground.run(&job).await;
    assert_eq!((second.adopted, &second.outcome), (true, &first.outcome));
    assert_eq!(ground.counted("began"), 1);
}

#[tokio::test]
async fn two_deliveries_at_once_start_one_process() {
    let ground = Ground::new();
    let job = job(&ground, r#"echo x >> "$HERE/began"; /bin/sleep 0.1"#);
    let (one, two) = (ground.backend(), ground.backend());
    let (one, two) = tokio::join!(
        one.run(&job, EndedJobPolicy::Replace, anywhere(), &ground.stop),
        two.run(&job, EndedJobPolicy::Replace, anywhere(), &ground.stop)
    );
    assert!(one.adopted != two.adopted);
    assert_eq!(ground.counted("began"), 1);
}

#[tokio::test]
async fn another_event_replaces_an_ended_job_and_a_replay_is_another_event() {
    let ground = Ground::new();
    let mut job = job(&ground, r#"echo x >> "$HERE/began""#);
    ground.run(&job).await;
    job.identity.event_id = "e2".into();
    assert!(!ground.run(&job).await.adopted);
    job.identity.replay = 1;
    assert!(!ground.run(&job).await.adopted);
    assert_eq!(ground.counted("began"), 3);
}

#[tokio::test]
async fn a_hung_child_of_another_event_is_ended_at_its_deadline_and_then_replaced() {
    let ground = Ground::new();
    let mut job =
        job(&ground, r#"[ -e "$HERE/began" ] && exit 0; echo $$ > "$HERE/began"; exec /bin/sleep 600"#);
    crash_during(&ground, &job).await;
    job.identity.event_id = "e2".into();
    job.spec.active_deadline = Some(Duration::from_millis(200));
    let ran = ground.run(&job).await;
    assert!(!ran.adopted && matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
}

#[test]
fn the_token_of_the_workers_survives_a_restart() {
    let ground = Ground::new();
    let token = || Process::sink_token(&ground.settings.state_dir).unwrap();
    assert_eq!(token(), token());
    assert_eq!(token().expose().len(), 32);
}

#[tokio::test]
async fn once_per_identity_means_that_no_other_event_runs_it() {
    let ground = Ground::new();
    let mut job = job(&ground, r#"echo x >> "$HERE/began""#);
    ground.backend().run(&job, EndedJobPolicy::Keep, anywhere(), &ground.stop).await;
    job.identity.event_id = "e2".into();
    let ran = ground.backend().run(&job, EndedJobPolicy::Keep, anywhere(), &ground.stop).await;
    assert!(ran.adopted && matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
    assert_eq!(ground.counted("began"), 1);
}

#[tokio::test]
async fn a_deleted_job_is_gone_and_so_is_its_process() {
    let ground = Ground::new();
    let job = job(&ground, r#"echo $$ > "$HERE/began"; exec /bin/sleep 600"#);
    crash_during(&ground, &job).await;
    ground.backend().delete(&job.identity).await.unwrap();
    assert_eq!(ground.kept(), [] as [&str; 0]);
    let pid = ground.file("began").await;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    ground.backend().delete(&job.identity).await.unwrap();
}

#[tokio::test]
async fn ended_jobs_that_are_not_rendered_any_more_go_and_running_ones_stay() {
    let ground = Ground::new();
    let named = |name: &str, script: &str| PlannedJob { name: name.to_owned(), ..job(&ground, script) };
    for name in ["kept", "old"] {
        ground.run(&named(name, "exit 0")).await;
    }
    let mut foreign = named("foreign", "exit 0");
    foreign.identity.subject = "another".into();
    ground.run(&foreign).await;
    let running =
        named("running", r#"echo x > "$HERE/began"; while [ ! -e "$HERE/go" ]; do /bin/sleep 0.02; done"#);
    let prune = async {
        ground.file("began").await;
        let kept = BTreeSet::from([("default".to_owned(), "kept".to_owned())]);
        ground.backend().prune(&running.identity, &kept).await.unwrap();
        std::fs::write(ground.path().join("go"), "").unwrap();
        ground.kept()
    };
    let (ran, kept) = tokio::join!(ground.run(&running), prune);
    let files = ["foreign.1.log", "foreign.json", "kept.1.log", "kept.json", "running.1.log", "running.json"];
    assert_eq!(kept, files.map(|file| format!("default.{file}")));
    assert!(matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
}

#[tokio::test]
async fn an_ended_job_is_removed_when_its_time_is_over() {
    use super::super::{record::milliseconds, tidy};
    let ground = Ground::new();
    let job = job(&ground, r#"echo said > "$TERMINATION_LOG""#);
    ground.run(&job).await;
    let state = &ground.settings.state_dir;
    let now = milliseconds(std::time::SystemTime::now());
    tidy::sweep(state, now + 30_000).unwrap();
    assert_eq!(ground.kept().len(), 3);
    tidy::sweep(state, now + 180_000).unwrap();
    assert_eq!(ground.kept(), [] as [&str; 0]);
}

#[test]
fn what_is_found_decides_what_is_done() {
    let ground = Ground::new();
    let job = job(&ground, "");
    let record = |outcome: Option<Outcome>| {
        let mut record = Record::new(&job, EndedJobPolicy::Replace);
        if let Some(outcome) = outcome {
            record.end(outcome);
        }
        Some(record)
    };
    let complete = Outcome::Complete { report: Report::default() };
    let failed = Outcome::Failed(Failure {
        class: FailureClass::PodFailurePolicy,
        exit_code: Some(65),
        message: String::new(),
        report: Report::default(),
    });
    let again = Outcome::TryAgain(Failure {
        class: FailureClass::BackoffLimitExceeded,
        exit_code: Some(75),
        message: String::new(),
        report: Report::default(),
    });
    let table = [
        // found, decision for the same event, decision for another event
        (None, "start", "start"),
        (record(None), "follow", "wait"),
        (record(Some(complete)), "report", "start"),
        (record(Some(failed)), "report", "start"),
        (record(Some(again)), "start", "start"),
        (record(Some(Outcome::Stopped)), "start", "start"),
    ];
    let word = |step: &ExistingJobAction<Record>| match step {
        ExistingJobAction::Start => "start",
        ExistingJobAction::Report(..) => "report",
        ExistingJobAction::Follow(_) => "follow",
        ExistingJobAction::WaitFor(_) => "wait",
    };
    for (found, same, other) in table {
        let step = |event: &str| decide(found.clone(), &identity(event), EndedJobPolicy::Replace);
        assert_eq!((word(&step("e1")), word(&step("e2"))), (same, other), "{found:?}");
    }
}

/// Counts how often the place was left and entered again.
#[derive(Default)]
struct Counted(u32, u32);

impl Place for Counted {
    fn leave(&mut self) {
        self.0 += 1;
    }

    fn enter(&mut self) -> futures_util::future::BoxFuture<'_, ()> {
        self.1 += 1;
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn the_job_of_a_frozen_dispatcher_is_taken_over_and_not_started_again() {
    let ground = Ground::new();
    let job =
        job(&ground, r#"echo x >> "$HERE/tries"; sleep 1; echo '{"exit_code":0}' > "$TERMINATION_LOG""#);
    let (one, two) = (ground.backend(), ground.backend());
    let mut frozen = Box::pin(one.run(&job, EndedJobPolicy::Replace, anywhere(), &ground.stop));
    tokio::select! {
        ran = &mut frozen => panic!("{ran:?}"),
        _ = ground.file("tries") => {}
    }
    // From here on the first dispatcher gives no sign of life, and keeps its lock.
    let mut place = Counted::default();
    let ran = two.run(&job, EndedJobPolicy::Replace, &mut place, &ground.stop).await;
    assert!(ran.adopted && matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
    assert_eq!((place.0, place.1), (1, 1), "nobody waits in a place");
    // The first dispatcher wakes up.
    let late = frozen.await;
    assert!(matches!(late.outcome, Outcome::Complete { .. }), "{late:?}");
    assert_eq!(ground.counted("tries"), 1);
}

#[tokio::test]
async fn who_wakes_up_after_a_takeover_starts_nothing_more() {
    let ground = Ground::new();
    let job = job(&ground, r#"echo x >> "$HERE/tries"; test $(wc -l < "$HERE/tries") -gt 1 || exit 75"#);
    let slow = Settings { backoff: Duration::from_secs(1), ..ground.settings.clone() };
    let (one, two) = (Process::open(slow).unwrap(), ground.backend());
    let mut frozen = Box::pin(one.run(&job, EndedJobPolicy::Replace, anywhere(), &ground.stop));
    tokio::select! {
        ran = &mut frozen => panic!("{ran:?}"),
        () = async {
            ground.file("tries").await;
            tokio::time::sleep(Duration::from_millis(500)).await; // it waits for its second try
        } => {}
    }
    let ran = two.run(&job, EndedJobPolicy::Replace, anywhere(), &ground.stop).await;
    assert!(matches!(ran.outcome, Outcome::Complete { .. }), "{ran:?}");
    assert_eq!(frozen.await.outcome, Outcome::Stopped);
    assert_eq!(ground.counted("tries"), 2);
}

#[tokio::test]
async fn a_dispatcher_that_gives_signs_of_life_keeps_its_job() {
    let ground = Ground::new();
    let job = job(&ground, r#"echo x >> "$HERE/tries"; sleep 8"#);
    let (one, two) = (ground.backend(), ground.backend());
    let mut places = ((), Counted::default());
    let (first, second) =
        tokio::join!(one.run(&job, EndedJobPolicy::Replace, &mut places.0, &ground.stop), async {
            ground.file("tries").await;
            two.run(&job, EndedJobPolicy::Replace, &mut places.1, &ground.stop).await
        });
    assert!(!first.adopted && second.adopted);
    assert_eq!(ground.counted("tries"), 1);
}
