//! The history on SQLite; the same statements run on MariaDB in the end-to-end tests.

mod ends;
mod hostile;
mod pruning;
mod words;

use std::sync::Arc;

use chrono::TimeDelta;
use shared::database;

use super::*;
use job::stop::{Stopper, channel};
use job::{EventFacts, Failure, FailureClass, Outcome, Report, State};

const TRIGGER: &str = "thing-saved-trigger";
const LAST: &str = "thing-ended-trigger";

fn handed(trigger: &str, flow: &str, at: DateTime<Utc>) -> JobRun {
    let event = EventFacts {
        id: format!("{trigger}-of-{flow}"),
        event_type: String::new(),
        source: "knapscen.disco".to_owned(),
        subject: flow.to_owned(),
        nats_subject: trigger.trim_end_matches("-trigger").to_owned(),
        correlation_id: None,
        traceparent: None,
        flow_key: flow.to_owned(),
        flow_name: format!("Company {flow}"),
        replay: 0,
        published_at: at,
        taken_at: at,
        attempt: 1,
        delivery: 1,
    };
    JobRun {
        trigger: trigger.to_owned(),
        namespace: "default".to_owned(),
        name: format!("{trigger}-{flow}"),
        image: "knapscen/save-thing:latest".to_owned(),
        event_hash: format!("hash-of-{flow}"),
        event: Arc::new(event),
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
    Outcome::Failed(Failure { class: FailureClass::PodFailurePolicy, exit_code: Some(65), message, report })
}

fn again(message: &str) -> Outcome {
    let (message, report) = (message.to_owned(), Report::default());
    Outcome::TryAgain(Failure {
        class: FailureClass::BackoffLimitExceeded,
        exit_code: Some(75),
        message,
        report,
    })
}

fn later(run: &JobRun, change: impl FnOnce(&mut EventFacts)) -> JobRun {
    let mut event = (*run.event).clone();
    change(&mut event);
    JobRun {
        event_hash: format!("{}-{}", run.event_hash, event.replay),
        event: Arc::new(event),
        ..run.clone()
    }
}

/// Writes in the background until dropped.
fn writing(history: &History) -> Stopper {
    let (stopper, stop) = channel();
    let history = history.clone();
    tokio::spawn(async move { history.write(stop).await });
    stopper
}

/// Polls until `done` is true.
async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(found) = probe().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("waited in vain until {what}")
}

async fn in_memory() -> History {
    History::in_memory(Keep::days(1)).await.unwrap()
}

/// A history in a file of its own, which has no tables yet.
fn in_file() -> (History, Settings, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("onboarding.db").display());
    let settings =
        Settings::read(&Environment::from_pairs([("DATABASE_URL", url)])).unwrap().creating().unwrap();
    (History::in_database(&settings, Keep::days(1)), settings, folder)
}

async fn migrated() -> (History, Settings, tempfile::TempDir) {
    let file = in_file();
    database::migrate(&mut file.1.connect().await.unwrap()).await.unwrap();
    file
}

async fn execute(history: &History, sql: &str) {
    execute!(&history.0.database.write, query => { query.push(sql); }).unwrap();
}

async fn complete(history: &History) -> u64 {
    let totals = history.totals().await.unwrap();
    [TRIGGER, LAST].map(|trigger| totals.runs(trigger, RunState::Complete)).iter().sum()
}

#[tokio::test]
async fn a_run_is_one_row_from_its_beginning_to_its_end() {
    let history = in_memory().await;
    let _writing = writing(&history);
    let run = handed(TRIGGER, "c-1", Utc::now());
    history.record(&run);
    until("it runs", async || {
        (history.totals().await.unwrap().runs(TRIGGER, RunState::Running) == 1).then_some(())
    })
    .await;
    history.record(&ended(&run, done()));
    until("it is done", async || (complete(&history).await == 1).then_some(())).await;
    let runs = history.runs_of("c-1", 10).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.state).collect::<Vec<_>>(), [RunState::Complete]);
    assert_eq!((runs[0].flow_name.as_str(), runs[0].tries), ("Company c-1", 1));
    assert_eq!(history.totals().await.unwrap().runs(TRIGGER, RunState::Running), 0);
    assert_eq!(history.run(&runs[0].id).await.unwrap().as_ref(), Some(&runs[0]));
    assert_eq!(history.runs_by(TRIGGER, 1).await.unwrap(), runs);
}

#[tokio::test]
async fn two_dispatchers_write_the_same_runs_and_each_is_counted_once() {
    let (first, settings, _folder) = migrated().await;
    let both = [first, History::in_database(&settings, Keep::days(1))];
    let stoppers = both.each_ref().map(writing);
    for number in 0..200 {
        let run = handed(TRIGGER, &format!("c-{}", number % 40), Utc::now());
        let run = JobRun { name: format!("job-{number}"), ..run };
        // One dispatcher begins what the other one ends.
        both[number % 2].record(&run);
        both[(number + 1) % 2].record(&ended(&run, if number % 7 == 0 { failed("no") } else { done() }));
    }
    until("all have ended", async || {
        let totals = both[0].totals().await.unwrap();
        let counts = [RunState::Complete, RunState::Failed, RunState::Running]
            .map(|state| totals.runs(TRIGGER, state));
        (counts == [171, 29, 0]).then_some(())
    })
    .await;
    drop(stoppers);
    assert_eq!(both[1].totals().await.unwrap(), both[0].totals().await.unwrap());
}

#[tokio::test]
async fn whoever_waits_until_it_is_written_finds_it_written() {
    let (history, _settings, _folder) = migrated().await;
    let _writing = writing(&history);
    for number in 0..3 {
        let flow = format!("c-{number}");
        let run = ended(&handed(TRIGGER, &flow, Utc::now()), done());
        history.record(&run);
        history.until_written(&run.event.id, run.event.published_at).await;
        assert_eq!(history.runs_of(&flow, 1).await.unwrap()[0].state, RunState::Complete);
    }
    assert_eq!(history.ahead(), 0);
}

#[tokio::test]
async fn the_flow_never_waits_for_the_history_and_what_is_missing_is_counted() {
    let history = in_memory().await;
    for number in 0..pending::MOST + 10 {
        history.record(&handed(TRIGGER, &format!("c-{number}"), Utc::now())); // no writer runs
    }
    assert_eq!(history.dropped(), 10);
    history.record(&ended(&handed(TRIGGER, "c-1", Utc::now()), done()));
    assert_eq!(history.dropped(), 10, "the end of a run that waits always finds room");
}

#[tokio::test]
async fn a_database_without_the_tables_is_said_and_the_remedy_named() {
    let (history, settings, _folder) = in_file();
    let _writing = writing(&history);
    history.record(&ended(&handed(TRIGGER, "c-1", Utc::now()), done()));
    let problem = until("the problem is said", async || history.problem()).await;
    assert!(problem.contains("dispatcher migrate"), "{problem}");
    database::migrate(&mut settings.connect().await.unwrap()).await.unwrap();
    until("it is written after all", async || history.runs_of("c-1", 1).await.unwrap().pop()).await;
    assert_eq!(history.problem(), None);
}

#[tokio::test]
async fn a_late_history_says_so_within_two_seconds_and_holds_up_no_answer() {
    let (history, settings, _folder) = migrated().await;
    let _writing = writing(&history);
    let mut locking = settings.connect().await.unwrap();
    locking.begin().await.unwrap();
    let began = std::time::Instant::now();
    let run = ended(&handed(TRIGGER, "c-1", Utc::now()), done());
    history.record(&run);
    history.until_written(&run.event.id, run.event.published_at).await;
    assert_eq!(history.ahead(), 1);
    let problem = until("it is late", async || history.problem()).await;
    assert!(began.elapsed() >= LATE && problem.starts_with("1 runs wait"), "{problem}");
    for _ in 0..1000 {
        history.until_written(&run.event.id, run.event.published_at).await;
    }
    assert_eq!(history.ahead(), 1001);
    locking.commit().await.unwrap();
    until("it is up to date again", async || history.problem().is_none().then_some(())).await;
    assert_eq!((complete(&history).await, history.dropped()), (1, 0));
}
