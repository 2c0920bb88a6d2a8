//! Ends: of events that operators drop, and of the writer itself.

use super::*;

#[tokio::test]
async fn a_customer_whose_event_was_dropped_is_stuck_no_more() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let _writing = writing(&history);
    let run = handed(TRIGGER, "c-1", Utc::now());
    history.record(&ended(&run, failed("no such tier")));
    history.record(&ended(&handed(LAST, "c-2", Utc::now()), failed("no")));
    until_stage(&history, "c-1", Stage::Stuck).await;
    until_stage(&history, "c-2", Stage::Stuck).await;
    history.give_up("c-1", "another event", &run.cause.nats_subject).await.unwrap();
    assert_eq!(history.customer("c-1").await.unwrap().unwrap().stage, Stage::Stuck);
    for _ in 0..2 {
        history.give_up("c-1", &run.cause.id, &run.cause.nats_subject).await.unwrap();
        let state = history.customer("c-1").await.unwrap().unwrap();
        assert_eq!(
            (state.stage, state.failed, state.reason.as_deref()),
            (Stage::GivenUp, 0, Some("no such tier"))
        );
    }
    let totals = history.totals().await.unwrap();
    assert_eq!((totals.customers(Stage::Stuck), totals.customers(Stage::GivenUp)), (1, 1));
    assert_eq!((totals.runs(TRIGGER, RunState::Failed), totals.runs(TRIGGER, RunState::Dropped)), (0, 1));
    check_totals(&history).await;
    // The same again, from somebody who publishes it anew.
    history.record(&ended(&run, done()));
    until_stage(&history, "c-1", Stage::UnderWay).await;
    check_totals(&history).await;
}

#[tokio::test]
async fn a_customer_whose_last_run_was_never_told_of_is_onboarded_because_its_worker_has_written_so() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let _writing = writing(&history);
    for customer in ["c-1", "c-2"] {
        history.record(&ended(&handed(TRIGGER, customer, Utc::now()), done()));
        until_stage(&history, customer, Stage::UnderWay).await;
    }
    let mut lease = history.0.connections.lease().await.unwrap();
    let database = lease.get().unwrap();
    let (at, close) = (Utc::now(), async |database: &mut Connection| {
        reconcile::close_onboarded(database, &std::collections::BTreeSet::new()).await.unwrap();
    });
    close(database).await;
    let customer = "INSERT INTO customers (id, name, subscription_tier, started_at, onboarded_at) VALUES (?, ?, ?, ?, ?)";
    for (id, onboarded_at) in [("c-1", Some(at)), ("c-2", None)] {
        let values = [id.into(), "Company".into(), "groovy".into(), at.into(), onboarded_at.into()];
        database.execute(customer, &values).await.unwrap();
    }
    close(database).await;
    close(database).await;
    lease.done();
    let state = history.customer("c-1").await.unwrap().unwrap();
    assert_eq!((state.stage, state.tier.as_str()), (Stage::Onboarded, "groovy"));
    assert_eq!(state.onboarded_at.map(|at| at.timestamp_micros()), Some(at.timestamp_micros()));
    assert_eq!(history.customer("c-2").await.unwrap().unwrap().stage, Stage::UnderWay);
    check_totals(&history).await;
}

#[tokio::test]
async fn whoever_is_onboarded_stays_it_when_something_of_it_is_dropped() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let _writing = writing(&history);
    let stray = handed(TRIGGER, "c-1", Utc::now());
    history.record(&ended(&stray, failed("no")));
    history.record(&ended(&handed(LAST, "c-1", Utc::now()), done()));
    until_stage(&history, "c-1", Stage::Onboarded).await;
    history.give_up("c-1", &stray.cause.id, &stray.cause.nats_subject).await.unwrap();
    let state = history.customer("c-1").await.unwrap().unwrap();
    assert_eq!((state.stage, state.failed), (Stage::Onboarded, 0));
}

#[tokio::test]
async fn a_replay_takes_the_place_of_what_could_not_be_planned() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let _writing = writing(&history);
    let run = handed(TRIGGER, "c-1", Utc::now());
    let refused = JobRun { trigger: String::new(), name: String::new(), image: String::new(), ..run.clone() };
    history.record(&ended(&refused, failed("a bug")));
    until_stage(&history, "c-1", Stage::Stuck).await;
    history.record(&ended(&later(&run, |cause| cause.replay = 1), done()));
    until_stage(&history, "c-1", Stage::UnderWay).await;
    check_totals(&history).await;
}

#[test]
fn refused_events_of_two_customers_with_one_id_are_two_runs() {
    let refused = |customer: &str| JobRun { name: String::new(), ..handed(TRIGGER, customer, Utc::now()) };
    let [one, other] =
        ["c-1", "c-2"].map(|customer| JobRun { event_hash: "e".to_owned(), ..refused(customer) });
    assert_ne!(run::id_of(&one), run::id_of(&other));
}

#[tokio::test]
async fn the_writer_ends_when_all_that_was_told_is_written() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let rules = Rules::new(manifest::load(&events).unwrap());
    let (stopper, stop) = channel();
    for number in 0..5000 {
        history.record(&ended(&handed(TRIGGER, &format!("c-{number}"), Utc::now()), done()));
    }
    stopper.end();
    history.write(rules, Cluster::default(), stop).await;
    assert_eq!(history.totals().await.unwrap().runs(TRIGGER, RunState::Complete), 5000);
}

#[tokio::test]
async fn a_run_whose_end_found_no_room_is_not_followed_any_more() {
    let history = History::in_memory(Keep::days(1)).await.unwrap();
    let run = handed(TRIGGER, "c-1", Utc::now());
    for _ in 0..CHANNEL {
        history.record(&run); // nobody writes
    }
    assert_eq!(history.followed().len(), 1);
    history.record(&ended(&run, done()));
    assert_eq!((history.dropped(), history.followed().len()), (1, 0));
}
