//! The history on SQLite; the same statements run on MariaDB in the end-to-end tests.

mod ends;
mod hostile;
mod keeping;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use shared::database::Connection;

use super::*;
use crate::backend::{Cause as Rule, Outcome, Report};
use crate::engine::stop::{Stopper, channel};
use crate::manifest;
use crate::observer::{Cause, State};

const TRIGGER: &str = "customer-saved-trigger";
const LAST: &str = "touchpoints-created-trigger";

fn handed(trigger: &str, customer: &str, at: DateTime<Utc>) -> JobRun {
    let cause = Cause {
        id: format!("{trigger}-of-{customer}"),
        event_type: String::new(),
        source: "knapscen.disco".to_owned(),
        subject: customer.to_owned(),
        nats_subject: trigger.trim_end_matches("-trigger").to_owned(),
        correlation_id: None,
        traceparent: None,
        customer: customer.to_owned(),
        customer_name: format!("Company {customer}"),
        replay: 0,
        published_at: at,
        taken_at: at,
        attempt: 1,
    };
    JobRun {
        trigger: trigger.to_owned(),
        namespace: "default".to_owned(),
        name: format!("{trigger}-{customer}"),
        image: "knapscen/save-customer:latest".to_owned(),
        event_hash: format!("hash-of-{customer}"),
        cause: Arc::new(cause),
        handed_at: at,
        state: State::Running,
    }
}

fn ended(run: &JobRun, outcome: Outcome) -> JobRun {
    let at = run.handed_at;
    let (tries, adopted, earlier) = (1, false, Vec::new());
    let state = State::Ended { started_at: Some(at), ended_at: at, tries, adopted, earlier, outcome };
    JobRun { state, ..run.clone() }
}

fn done() -> Outcome {
    Outcome::Complete { report: Report::default() }
}

fn failed(message: &str) -> Outcome {
    let (message, report) = (message.to_owned(), Report::default());
    Outcome::Failed { cause: Rule::PodFailurePolicy, exit_code: Some(65), message, report }
}

fn later(run: &JobRun, change: impl FnOnce(&mut Cause)) -> JobRun {
    let mut cause = (*run.cause).clone();
    change(&mut cause);
    JobRun {
        event_hash: format!("{}-{}", run.event_hash, cause.replay),
        cause: Arc::new(cause),
        ..run.clone()
    }
}

/// Writes in the background until dropped.
fn writing(history: &History) -> Stopper {
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let rules = Rules::new(manifest::load(&events).unwrap());
    let (stopper, stop) = channel();
    let history = history.clone();
    tokio::spawn(async move { history.write(rules, Cluster::default(), stop).await });
    stopper
}

/// Polls until the history says so.
async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(found) = probe().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("waited in vain until {what}")
}

async fn until_stage(history: &History, customer: &str, stage: Stage) -> CustomerState {
    until(&format!("{customer} is {}", stage.as_str()), async || {
        history.customer(customer).await.unwrap().filter(|state| state.stage == stage)
    })
    .await
}

/// What the counts must be, counted from the rows.
async fn check_totals(history: &History) {
    let mut lease = history.0.connections.lease().await.unwrap();
    let connection = lease.get().unwrap();
    let counted = "SELECT 'run', trigger_name, state, COUNT(*) FROM job_runs WHERE superseded = 0 GROUP BY trigger_name, state \
                   UNION ALL SELECT 'customer', '', CAST(stage AS TEXT), COUNT(*) FROM customer_states GROUP BY stage \
                   ORDER BY 1, 2, 3";
    let kept = "SELECT kind, name, state, amount FROM history_totals WHERE amount <> 0 ORDER BY 1, 2, 3";
    assert_eq!(table(connection, counted).await, table(connection, kept).await);
    lease.done();
}

async fn table(connection: &mut Connection, sql: &str) -> Vec<(String, String, String, i64)> {
    let rows = connection.rows(sql, &[]).await.unwrap();
    let cells = rows.iter().map(|row| {
        (row.text(0).unwrap(), row.text(1).unwrap(), row.text(2).unwrap(), row.integer(3).unwrap())
    });
    cells.collect()
}

#[tokio::test]
async fn a_run_is_one_row_from_its_beginning_to_its_end() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let _writing = writing(&history);
    let run = handed(TRIGGER, "c-1", Utc::now());
    history.record(&run);
    let state = until_stage(&history, "c-1", Stage::UnderWay).await;
    assert_eq!((state.name.as_str(), state.open, state.done), ("Company c-1", 1, 0));
    history.record(&ended(&run, done()));
    until("it is done", async || {
        history.customer("c-1").await.unwrap().filter(|state| (state.open, state.done) == (0, 1))
    })
    .await;
    let runs = history.runs_of("c-1", 10).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.state).collect::<Vec<_>>(), [RunState::Complete]);
    assert_eq!(history.totals().await.unwrap().runs(TRIGGER, RunState::Complete), 1);
    check_totals(&history).await;
}

#[tokio::test]
async fn a_customer_goes_through_every_stage_and_the_counts_follow() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let _writing = writing(&history);
    let run = handed(TRIGGER, "c-1", Utc::now());
    let again = Outcome::TryAgain {
        cause: Rule::BackoffLimitExceeded,
        exit_code: Some(75),
        message: "the vendor is away".to_owned(),
        report: Report::default(),
    };
    history.record(&ended(&run, again));
    let state = until_stage(&history, "c-1", Stage::Retrying).await;
    assert_eq!(state.reason.as_deref(), Some("the vendor is away"));
    let second = later(&run, |cause| cause.attempt = 2);
    let second = JobRun { event_hash: run.event_hash.clone(), ..second };
    history.record(&ended(&second, failed("no such tier")));
    let state = until_stage(&history, "c-1", Stage::Stuck).await;
    assert_eq!(state.reason.as_deref(), Some("no such tier"));
    let replay = later(&run, |cause| cause.replay = 1);
    history.record(&ended(&replay, done()));
    let state = until_stage(&history, "c-1", Stage::UnderWay).await;
    assert_eq!((state.done, state.failed), (1, 0), "the replay has taken the failed run's place");
    history.record(&ended(&handed(LAST, "c-1", Utc::now()), done()));
    until_stage(&history, "c-1", Stage::Onboarded).await;
    assert_eq!(history.runs_of("c-1", 10).await.unwrap().len(), 3);
    check_totals(&history).await;
}

#[tokio::test]
async fn what_comes_late_or_twice_changes_nothing() {
    let now = Utc::now();
    let begun = Run::of(&handed(TRIGGER, "c-1", now), now);
    let complete = Run::of(&ended(&handed(TRIGGER, "c-1", now), done()), now);
    assert_eq!(complete.clone().then(begun.clone()), complete, "a beginning that comes after the end");
    assert_eq!(begun.then(complete.clone()).state, RunState::Complete);
    let second = Run { deliveries: 2, state: RunState::Running, ended_at: None, ..complete.clone() };
    assert_eq!(complete.clone().then(second), complete, "an event that comes again finds its Job complete");
}

#[tokio::test]
async fn the_list_begins_with_the_stuck_and_pages_without_gaps() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let stopper = writing(&history);
    let now = Utc::now();
    for number in 0..30 {
        let at = now - TimeDelta::seconds(number);
        let outcome = match number % 3 {
            0 => failed("no"),
            _ => done(),
        };
        let trigger = if number % 3 == 1 { LAST } else { TRIGGER };
        history.record(&ended(&handed(trigger, &format!("c-{number:02}"), at), outcome));
    }
    until("all are there", async || {
        let totals = history.totals().await.unwrap();
        (Stage::ALL.iter().map(|stage| totals.customers(*stage)).sum::<u64>() == 30).then_some(())
    })
    .await;
    drop(stopper);
    let mut wanted = Wanted { limit: 7, ..Wanted::default() };
    let mut all = Vec::new();
    loop {
        let page = history.customers(&wanted).await.unwrap();
        let Some(last) = page.last() else { break };
        wanted.after = Some(last.into());
        let again: Cursor = wanted.after.as_ref().unwrap().to_string().parse().unwrap();
        assert_eq!(Some(again), wanted.after);
        all.extend(page);
    }
    let stages: Vec<_> = all.iter().map(|one| one.stage).collect();
    assert!(stages.is_sorted() && stages.len() == 30, "{stages:?}");
    assert_eq!(
        (all[0].id.as_str(), all[20].id.as_str()),
        ("c-27", "c-01"),
        "longest stuck, newest onboarded"
    );
    let search = Wanted { text: "company C-1".to_owned(), limit: 50, ..Wanted::default() };
    assert_eq!(history.customers(&search).await.unwrap().len(), 10);
    let nothing = Wanted { text: "%".to_owned(), ..search.clone() };
    assert_eq!(history.customers(&nothing).await.unwrap(), []);
    let one = Wanted { text: "c-07".to_owned(), ..search };
    assert_eq!(history.customers(&one).await.unwrap().len(), 1);
}

#[tokio::test]
async fn two_dispatchers_write_the_same_tables_and_the_counts_balance() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("onboarding.db").display());
    let settings = Settings::read(&Environment::from_pairs([("DATABASE_URL", url)])).unwrap().creating();
    database::migrate(&mut settings.connect().await.unwrap()).await.unwrap();
    let both = [(); 2].map(|()| History::in_database(settings.clone(), Keep::days(1)));
    let stoppers = both.each_ref().map(writing);
    for number in 0..200 {
        let run = handed(TRIGGER, &format!("c-{}", number % 40), Utc::now());
        let run = JobRun { name: format!("job-{number}"), ..run };
        // One begins what the other ends.
        both[number % 2].record(&run);
        both[(number + 1) % 2].record(&ended(&run, if number % 7 == 0 { failed("no") } else { done() }));
    }
    until("all have ended", async || {
        let totals = both[0].totals().await.unwrap();
        let ended = totals.runs(TRIGGER, RunState::Complete) + totals.runs(TRIGGER, RunState::Failed);
        (ended == 200).then_some(())
    })
    .await;
    drop(stoppers);
    check_totals(&both[1]).await;
}

#[tokio::test]
async fn whoever_waits_until_it_is_written_finds_it_written() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("onboarding.db").display());
    let settings = Settings::read(&Environment::from_pairs([("DATABASE_URL", url)])).unwrap().creating();
    database::migrate(&mut settings.connect().await.unwrap()).await.unwrap();
    let history = History::in_database(settings, Keep::days(1));
    let _writing = writing(&history);
    for number in 0..3 {
        let customer = format!("c-{number}");
        history.record(&ended(&handed(TRIGGER, &customer, Utc::now()), done()));
        history.until_written().await;
        assert_eq!(history.runs_of(&customer, 1).await.unwrap()[0].state, RunState::Complete);
    }
}

#[tokio::test]
async fn counts_that_are_wrong_are_put_right_by_the_next_writer() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let stopper = writing(&history);
    history.record(&ended(&handed(TRIGGER, "c-1", Utc::now()), failed("no")));
    history.record(&ended(&handed(LAST, "c-2", Utc::now()), done()));
    until_stage(&history, "c-2", Stage::Onboarded).await;
    drop(stopper);
    let mut connection = history.0.connections.connect().await.unwrap();
    connection.execute("UPDATE history_totals SET amount = amount + 3", &[]).await.unwrap();
    let wrong = "INSERT INTO history_totals (kind, name, state, amount) VALUES ('customer', '', '2', 1), ('run', 'gone', 'failed', 2)";
    connection.execute(wrong, &[]).await.unwrap();
    totals::recount(&mut connection).await.unwrap();
    let kept = history.totals().await.unwrap();
    assert_eq!(Stage::ALL.map(|stage| kept.customers(stage)), [1, 0, 0, 1, 0]);
    assert_eq!((kept.runs(TRIGGER, RunState::Failed), kept.runs("gone", RunState::Failed)), (1, 0));
    assert_eq!(
        kept.runs(LAST, RunState::Complete),
        4,
        "what was done is not counted from rows that may have gone"
    );
}

#[tokio::test]
async fn a_run_that_nobody_follows_is_closed_by_the_ledger() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let silent = Utc::now() - TimeDelta::minutes(10);
    let mut batch = write::Batch::default();
    for customer in ["c-1", "c-2"] {
        batch.add(Run::of(&handed(TRIGGER, customer, silent), silent), "Acme");
    }
    let mut connection = history.0.connections.connect().await.unwrap();
    let last = std::collections::BTreeSet::new();
    batch.write(&mut connection, &last).await.unwrap();
    let ledger = "INSERT INTO handled_events (step, event_id, subject, customer_id, handled_at) VALUES (?, ?, ?, ?, ?)";
    let event = format!("{TRIGGER}-of-c-1");
    let values = ["save-customer".into(), event.as_str().into(), "c-1".into(), "c-1".into(), silent.into()];
    connection.execute(ledger, &values).await.unwrap();
    assert_eq!(reconcile::close_ended(&mut connection, &last, None).await.unwrap(), None);
    let state = async |customer| history.runs_of(customer, 1).await.unwrap()[0].state;
    assert_eq!((state("c-1").await, state("c-2").await), (RunState::Complete, RunState::Running));
    check_totals(&history).await;
}

#[tokio::test]
async fn the_flow_never_waits_for_the_history_and_what_is_missing_is_counted() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let run = handed(TRIGGER, "c-1", Utc::now());
    for _ in 0..CHANNEL + 10 {
        history.record(&run); // nobody writes
    }
    assert_eq!(history.dropped(), 10);
}

#[tokio::test]
async fn a_database_without_the_tables_is_said_and_the_remedy_named() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("empty.db").display());
    let settings = Settings::read(&Environment::from_pairs([("DATABASE_URL", url)])).unwrap().creating();
    let history = History::in_database(settings.clone(), Keep::days(1));
    let _writing = writing(&history);
    history.record(&ended(&handed(TRIGGER, "c-1", Utc::now()), done()));
    let problem = until("the problem is said", async || history.problem()).await;
    assert!(problem.contains("dispatcher migrate"), "{problem}");
    database::migrate(&mut settings.connect().await.unwrap()).await.unwrap();
    until("it is written after all", async || history.customer("c-1").await.unwrap()).await;
    assert_eq!(history.problem(), None);
}
