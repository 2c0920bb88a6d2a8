//! One hostile event does not affect the history of the others.

use super::*;

#[tokio::test]
async fn a_run_that_the_database_refuses_is_dropped_and_counted_and_the_others_are_written() {
    let history = in_memory().await;
    execute(
        &history,
        "CREATE TRIGGER refuse BEFORE INSERT ON job_runs WHEN NEW.flow_key IN ('c-3', 'c-77') \
         BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    .await;
    for number in 0..100 {
        history.record(&ended(&handed(TRIGGER, &format!("c-{number}"), Utc::now()), done()));
    }
    let _writing = writing(&history);
    until("the others are there", async || (complete(&history).await == 98).then_some(())).await;
    until("two are counted", async || (history.dropped() == 2).then_some(())).await;
    assert_eq!((history.problem(), history.runs_of("c-3", 1).await.unwrap()), (None, Vec::new()));
    history.record(&ended(&handed(TRIGGER, "c-later", Utc::now()), done()));
    until("it goes on", async || history.runs_of("c-later", 1).await.unwrap().pop()).await;
}

#[tokio::test]
async fn a_database_that_takes_nothing_costs_no_run() {
    let history = in_memory().await;
    execute(&history, "ALTER TABLE job_runs RENAME TO away").await;
    let _writing = writing(&history);
    for number in 0..10 {
        history.record(&ended(&handed(TRIGGER, &format!("c-{number}"), Utc::now()), done()));
    }
    until("the problem is said", async || history.problem()).await;
    execute(&history, "ALTER TABLE away RENAME TO job_runs").await;
    until("all are written", async || (complete(&history).await == 10).then_some(())).await;
    assert_eq!((history.dropped(), history.problem()), (0, None));
}

#[test]
fn what_publishers_write_fits_its_column() {
    let now = Utc::now();
    let run = handed(TRIGGER, &format!(" {} ", "\u{130}".repeat(200)), now);
    let run = later(&run, |event| {
        event.replay = u32::MAX;
        event.delivery = u64::MAX;
    });
    let run = Run::of(&run);
    assert_eq!((run.replay, run.deliveries), (i64::from(i32::MAX), i64::from(i32::MAX)));
    assert_eq!((run.flow_key.chars().count(), run.flow_key.starts_with(' ')), (128, false));
    assert_eq!(Run::of(&handed(TRIGGER, "c-1  ", now)).flow_key, "c-1");
}

#[tokio::test]
async fn a_key_with_spaces_at_its_ends_is_the_one_without() {
    let history = in_memory().await;
    for flow in ["c-1", "c-1 ", " c-1"] {
        let run = JobRun { name: flow.to_owned(), ..handed(TRIGGER, flow, Utc::now()) };
        history.write_now(&[Run::of(&ended(&run, done()))]).await.unwrap();
    }
    assert_eq!(history.runs_of("c-1 ", 10).await.unwrap().len(), 3);
}
