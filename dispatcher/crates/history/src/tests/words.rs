//! Reports about one run in any order, from any dispatcher.

use super::*;

/// The row after these reports.
async fn after(words: &[JobRun]) -> Run {
    let history = in_memory().await;
    for word in words {
        history.write_now(&[Run::of(word)]).await.unwrap();
    }
    let written = history.run(&run::id_of(&words[0])).await.unwrap().unwrap();
    // The same through the writer, which merges the end with the beginning before it writes.
    let history = in_memory().await;
    for word in words {
        history.record(word);
    }
    let (stopper, stop) = channel();
    stopper.end();
    history.write(stop).await;
    assert_eq!(history.run(&run::id_of(&words[0])).await.unwrap().as_ref(), Some(&written));
    written
}

#[tokio::test]
async fn what_comes_late_or_twice_changes_nothing() {
    let begun = handed(TRIGGER, "c-1", Utc::now());
    let complete = ended(&begun, done());
    let expected = after(std::slice::from_ref(&complete)).await;
    let second = JobRun { event_hash: begun.event_hash.clone(), ..later(&begun, |event| event.delivery = 2) };
    for words in [
        vec![complete.clone(), begun.clone()],
        vec![begun.clone(), complete.clone()],
        vec![begun.clone(), complete.clone(), complete.clone()],
        // An event that comes again finds its Job complete.
        vec![complete.clone(), second.clone(), ended(&second, again("adopted"))],
    ] {
        assert_eq!(after(&words).await, expected);
    }
}

#[tokio::test]
async fn a_later_delivery_begins_a_run_anew_and_its_reason_stays_until_it_is_complete() {
    let begun = handed(TRIGGER, "c-1", Utc::now());
    let second = JobRun { event_hash: begun.event_hash.clone(), ..later(&begun, |event| event.delivery = 2) };
    let words = [ended(&begun, again("the vendor is away")), second.clone()];
    let run = after(&words).await;
    assert_eq!(
        (run.state, run.message.as_deref(), run.ended_at),
        (RunState::Running, Some("the vendor is away"), None)
    );
    let run = after(&[words[0].clone(), words[1].clone(), ended(&second, done())]).await;
    assert_eq!((run.state, run.message, run.exit_code), (RunState::Complete, None, Some(0)));
}

#[tokio::test]
async fn what_the_ledger_says_gives_way_to_what_a_dispatcher_has_seen() {
    let history = in_memory().await;
    let begun = handed(TRIGGER, "c-1", Utc::now());
    let of_ledger = Run { state: RunState::Complete, ..Run::of(&begun) };
    for word in [Run::of(&begun), of_ledger, Run::of(&ended(&begun, failed("no")))] {
        history.write_now(&[word]).await.unwrap();
    }
    let run = history.runs_of("c-1", 1).await.unwrap().remove(0);
    assert_eq!((run.state, run.message.as_deref()), (RunState::Failed, Some("no")));
}

#[tokio::test]
async fn a_dropped_event_says_nothing_more_unless_it_is_published_anew() {
    let history = in_memory().await;
    let run = handed(TRIGGER, "c-1", Utc::now());
    history.write_now(&[Run::of(&ended(&run, failed("no")))]).await.unwrap();
    history.give_up("c-1", &run.event.id, &run.event.nats_subject).await.unwrap();
    let state = async || history.runs_of("c-1", 1).await.unwrap()[0].state;
    history.write_now(&[Run::of(&ended(&run, failed("no")))]).await.unwrap();
    assert_eq!(state().await, RunState::Dropped);
    let anew = later(&run, |event| event.published_at += TimeDelta::seconds(1));
    let anew = JobRun { event_hash: run.event_hash.clone(), ..anew };
    history.write_now(&[Run::of(&anew)]).await.unwrap();
    assert_eq!(state().await, RunState::Running);
}

#[tokio::test]
async fn a_replay_takes_the_place_of_its_triggers_run_and_of_what_could_not_be_planned() {
    let history = in_memory().await;
    let run = handed(TRIGGER, "c-1", Utc::now());
    let other = ended(&handed(LAST, "c-1", Utc::now()), failed("other"));
    let refused = JobRun { trigger: String::new(), name: String::new(), image: String::new(), ..run.clone() };
    let words = [ended(&run, failed("no")), ended(&refused, failed("a bug")), other];
    history.write_now(&words.map(|word| Run::of(&word))).await.unwrap();
    history.write_now(&[Run::of(&ended(&later(&run, |event| event.replay = 1), done()))]).await.unwrap();
    let totals = history.totals().await.unwrap();
    let counts = [
        (TRIGGER, RunState::Failed),
        ("", RunState::Failed),
        (LAST, RunState::Failed),
        (TRIGGER, RunState::Complete),
    ];
    assert_eq!(counts.map(|(trigger, state)| totals.runs(trigger, state)), [0, 0, 1, 1]);
}

#[test]
fn refused_events_of_two_flows_with_one_id_are_two_runs() {
    let refused = |flow: &str| JobRun { name: String::new(), ..handed(TRIGGER, flow, Utc::now()) };
    let [one, other] = ["c-1", "c-2"].map(|flow| JobRun { event_hash: "e".to_owned(), ..refused(flow) });
    assert_ne!(run::id_of(&one), run::id_of(&other));
}
