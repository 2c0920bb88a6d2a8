//! What is removed, and how removed runs are counted.

use super::*;

async fn written(history: &History, runs: impl IntoIterator<Item = JobRun>) {
    let runs: Vec<_> = runs.into_iter().map(|run| Run::of(&run)).collect();
    history.write_now(&runs).await.unwrap();
}

async fn left(history: &History) -> usize {
    retention::prune(history).await.unwrap();
    let rows: Vec<(i64,)> =
        rows!(history.pool(), query => { query.push("SELECT COUNT(*) FROM job_runs"); }).unwrap();
    rows[0].0.try_into().unwrap()
}

#[tokio::test]
async fn what_is_old_goes_but_a_failed_run_stays_until_it_is_replayed_or_dropped() {
    let history = in_memory().await;
    let of = |flow: &str| handed(TRIGGER, flow, Utc::now());
    let old = [
        ended(&of("stuck"), failed("no")),
        ended(&of("again"), again("")),
        of("left alone"),
        ended(&of("done"), done()),
    ];
    written(&history, old).await;
    execute(&history, "UPDATE job_runs SET seen_at = '2020-01-01 00:00:00'").await;
    written(&history, [ended(&of("new"), failed("no")), of("running")]).await;
    assert_eq!(left(&history).await, 3);
    history.count_anew().await.unwrap();
    let totals = history.totals().await.unwrap();
    assert_eq!(
        [RunState::Failed, RunState::Running, RunState::Complete].map(|state| totals.runs(TRIGGER, state)),
        [2, 1, 0]
    );
    execute(&history, "UPDATE job_runs SET superseded = 1 WHERE seen_at = '2020-01-01 00:00:00'").await;
    assert_eq!(left(&history).await, 2);
}

#[tokio::test]
async fn too_many_are_never_kept_in_memory_even_where_nothing_ends_and_everybody_is_somebody_else() {
    let history = History::in_memory(Keep { runs: Some(50), ..Keep::days(1) }).await.unwrap();
    let at = |number: i64| Utc::now() - TimeDelta::seconds(1000 - number);
    written(&history, (0..700).map(|number| handed(TRIGGER, &format!("h-{number}"), at(number)))).await;
    written(&history, [ended(&handed(LAST, "kept", Utc::now()), done())]).await;
    assert_eq!(left(&history).await, 50);
    let there = async |flow| !history.runs_of(flow, 1).await.unwrap().is_empty();
    assert_eq!((there("h-699").await, there("h-0").await), (true, false));
}

#[tokio::test]
async fn what_has_settled_is_counted_once_and_what_comes_after_it_is_added() {
    let history = in_memory().await;
    written(
        &history,
        (0..30).map(|number| ended(&handed(TRIGGER, &format!("c-{number}"), Utc::now()), done())),
    )
    .await;
    execute(&history, "UPDATE job_runs SET seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 hour')").await;
    assert_eq!(complete(&history).await, 30);
    written(
        &history,
        (30..50).map(|number| ended(&handed(LAST, &format!("c-{number}"), Utc::now()), done())),
    )
    .await;
    assert_eq!(complete(&history).await, 50);
    execute(&history, "DELETE FROM job_runs WHERE trigger_name = 'thing-saved-trigger'").await;
    assert_eq!(complete(&history).await, 50, "what has settled is not counted for every page");
    history.count_anew().await.unwrap();
    assert_eq!(complete(&history).await, 20);
}
