//! What goes, and that counts and customers go with it.

use super::*;

/// What remains of the runs and customers after everything has been pruned.
async fn left(history: &History) -> (i64, i64) {
    let mut connection = history.0.connections.connect().await.unwrap();
    while keep::prune(&mut connection, history.0.keep).await.unwrap() {}
    let sql = "SELECT (SELECT COUNT(*) FROM job_runs), (SELECT COUNT(*) FROM customer_states)";
    let row = connection.row(sql, &[]).await.unwrap().unwrap();
    (row.integer(0).unwrap(), row.integer(1).unwrap())
}

async fn written(history: &History, runs: impl IntoIterator<Item = (JobRun, DateTime<Utc>)>) {
    let mut batch = write::Batch::default();
    for (run, seen) in runs {
        batch.add(Run::of(&run, seen), "Acme");
    }
    let last = std::collections::BTreeSet::from([LAST.to_owned()]);
    batch.write(&mut history.0.connections.connect().await.unwrap(), &last).await.unwrap();
}

#[tokio::test]
async fn what_is_old_goes_whatever_became_of_it_with_the_customers_that_have_nothing_left() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let (now, old) = (Utc::now(), Utc::now() - TimeDelta::days(3));
    let of = |customer: &str, at| handed(TRIGGER, customer, at);
    let again = Outcome::TryAgain {
        cause: Rule::BackoffLimitExceeded,
        exit_code: Some(75),
        message: String::new(),
        report: Report::default(),
    };
    let runs = [
        (ended(&of("stuck", old), failed("no")), old),
        (ended(&of("retrying", old), again), old),
        (of("left alone", old), old),
        (ended(&handed(LAST, "onboarded", old), done()), old),
        (ended(&of("both", old), failed("no")), old),
        (ended(&handed(LAST, "both", now), failed("no")), now),
        (of("followed", old), now),
    ];
    written(&history, runs).await;
    assert_eq!(left(&history).await, (2, 2));
    for (customer, there) in [("stuck", false), ("both", true), ("followed", true)] {
        assert_eq!(history.customer(customer).await.unwrap().is_some(), there, "{customer}");
    }
    let totals = history.totals().await.unwrap();
    assert_eq!(Stage::ALL.map(|stage| totals.customers(stage)), [1, 0, 1, 0, 0]);
    assert_eq!((totals.runs(TRIGGER, RunState::Failed), totals.runs(LAST, RunState::Complete)), (0, 1));
}

#[tokio::test]
async fn too_many_are_never_kept_in_memory_even_where_nothing_ends_and_everybody_is_somebody_else() {
    let history = History::in_memory(Keep { runs: Some(50), ..Keep::days(1) }).await.unwrap();
    let now = Utc::now();
    let at = |number: i64| now - TimeDelta::seconds(1000 - number);
    let hostile = (0..700).map(|number| (handed(TRIGGER, &format!("h-{number}"), at(number)), at(number)));
    written(&history, hostile).await;
    written(&history, [(ended(&handed(LAST, "kept", now), done()), now)]).await;
    let (runs, customers) = left(&history).await;
    assert_eq!(runs, 50);
    assert!(customers <= 50, "{customers}");
    assert!(
        history.customer("h-699").await.unwrap().is_some()
            && history.customer("h-0").await.unwrap().is_none()
    );
}

#[tokio::test]
async fn a_surplus_of_runs_costs_no_customer_that_has_one_left() {
    let history = History::in_memory(Keep { runs: Some(5), ..Keep::days(1) }).await.unwrap();
    let now = Utc::now();
    let runs = (0..20).map(|number| {
        let run = JobRun { name: format!("job-{number}"), ..handed(LAST, &format!("c-{}", number % 2), now) };
        (ended(&run, done()), now)
    });
    written(&history, runs).await;
    assert_eq!(left(&history).await, (5, 2));
}

#[tokio::test]
async fn runs_of_foreign_images_hide_no_run_that_the_ledger_knows() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let silent = Utc::now() - TimeDelta::minutes(10);
    let foreign = (0..1000).map(|number| {
        let run = handed(TRIGGER, &format!("f-{number}"), silent);
        (JobRun { image: "elsewhere/else:1".to_owned(), ..run }, silent - TimeDelta::seconds(60))
    });
    written(&history, foreign.chain([(handed(TRIGGER, "ours", silent), silent)])).await;
    let mut connection = history.0.connections.connect().await.unwrap();
    let ledger = "INSERT INTO handled_events (step, event_id, subject, customer_id, handled_at) VALUES (?, ?, ?, ?, ?)";
    let event = format!("{TRIGGER}-of-ours");
    let values = ["save-customer".into(), event.as_str().into(), "ours".into(), "ours".into(), silent.into()];
    connection.execute(ledger, &values).await.unwrap();
    let last = std::collections::BTreeSet::new();
    let mut place = None;
    for _ in 0..2 {
        place = reconcile::close_ended(&mut connection, &last, place).await.unwrap();
    }
    assert_eq!((history.runs_of("ours", 1).await.unwrap()[0].state, place), (RunState::Complete, None));
}
