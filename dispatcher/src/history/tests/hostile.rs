//! What one event may do to the history: nothing to the others.

use super::*;

#[tokio::test]
async fn a_run_that_the_database_refuses_is_dropped_and_counted_and_the_others_are_written() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let mut connection = history.0.connections.connect().await.unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON job_runs WHEN NEW.customer_id IN ('c-3', 'c-77') \
                  BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    connection.execute(refuse, &[]).await.unwrap();
    for number in 0..100 {
        history.record(&ended(&handed(TRIGGER, &format!("c-{number}"), Utc::now()), done()));
    }
    let _writing = writing(&history);
    until("the others are there", async || {
        (history.totals().await.unwrap().runs(TRIGGER, RunState::Complete) == 98).then_some(())
    })
    .await;
    until("two are counted", async || (history.dropped() == 2).then_some(())).await;
    assert_eq!((history.problem(), history.customer("c-3").await.unwrap()), (None, None));
    history.record(&ended(&handed(TRIGGER, "c-later", Utc::now()), done()));
    until("it goes on", async || history.customer("c-later").await.unwrap()).await;
    check_totals(&history).await;
}

#[tokio::test]
async fn a_database_that_takes_nothing_costs_no_run() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let mut connection = history.0.connections.connect().await.unwrap();
    let refuse =
        "CREATE TRIGGER refuse BEFORE INSERT ON job_runs BEGIN SELECT RAISE(ABORT, 'read only'); END";
    connection.execute(refuse, &[]).await.unwrap();
    let _writing = writing(&history);
    for number in 0..10 {
        history.record(&ended(&handed(TRIGGER, &format!("c-{number}"), Utc::now()), done()));
    }
    let problem = until("the problem is said", async || history.problem()).await;
    assert!(problem.contains("read only"), "{problem}");
    connection.execute("DROP TRIGGER refuse", &[]).await.unwrap();
    until("all are written", async || {
        (history.totals().await.unwrap().runs(TRIGGER, RunState::Complete) == 10).then_some(())
    })
    .await;
    assert_eq!(history.dropped(), 0);
    check_totals(&history).await;
}

#[test]
fn what_publishers_write_fits_its_column() {
    let now = Utc::now();
    let run = handed(TRIGGER, &format!(" {} ", "\u{130}".repeat(200)), now);
    let run = later(&run, |cause| {
        cause.replay = u32::MAX;
        cause.attempt = u64::MAX;
    });
    let run = Run::of(&run, now);
    assert_eq!((run.replay, run.deliveries), (i64::from(i32::MAX), i64::from(i32::MAX)));
    assert_eq!((run.customer.chars().count(), run.customer.starts_with(' ')), (128, false));
    assert_eq!(Run::of(&handed(TRIGGER, "c-1  ", now), now).customer, "c-1");
}

#[tokio::test]
async fn a_customer_with_spaces_after_its_id_is_the_one_without() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let _writing = writing(&history);
    for customer in ["c-1", "c-1 ", " c-1"] {
        let run = JobRun { name: customer.to_owned(), ..handed(TRIGGER, customer, Utc::now()) };
        history.record(&ended(&run, done()));
    }
    until("three runs are one customer's", async || {
        history.customer("c-1 ").await.unwrap().filter(|state| state.done == 3)
    })
    .await;
    check_totals(&history).await;
}
