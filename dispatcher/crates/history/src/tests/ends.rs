//! The end of events that operators drop, and of the writer itself.

use super::*;

#[tokio::test]
async fn what_is_dropped_counts_as_dropped_however_often() {
    let history = in_memory().await;
    let run = handed(TRIGGER, "c-1", Utc::now());
    history.write_now(&[Run::of(&ended(&run, failed("no such tier")))]).await.unwrap();
    history.give_up("c-1", "another event", &run.event.nats_subject).await.unwrap();
    assert_eq!(history.totals().await.unwrap().runs(TRIGGER, RunState::Failed), 1);
    for _ in 0..2 {
        history.give_up("c-1 ", &run.event.id, &run.event.nats_subject).await.unwrap();
        let totals = history.totals().await.unwrap();
        assert_eq!((totals.runs(TRIGGER, RunState::Failed), totals.runs(TRIGGER, RunState::Dropped)), (0, 1));
    }
}

#[tokio::test]
async fn nothing_is_dropped_while_the_history_is_late() {
    let (history, _settings, _folder) = in_file();
    let run = ended(&handed(TRIGGER, "c-1", Utc::now()), failed("no"));
    history.record(&run); // no writer runs
    until("it is late", async || history.problem()).await;
    let refused = history.give_up("c-1", &run.event.id, &run.event.nats_subject).await.unwrap_err();
    assert_eq!(refused.class().exit_code(), 75, "{refused}");
}

#[tokio::test]
async fn the_writer_ends_when_all_that_was_told_is_written() {
    let history = in_memory().await;
    let (stopper, stop) = channel();
    for number in 0..5000 {
        history.record(&ended(&handed(TRIGGER, &format!("c-{number}"), Utc::now()), done()));
    }
    stopper.end();
    history.write(stop).await;
    assert_eq!(complete(&history).await, 5000);
}
