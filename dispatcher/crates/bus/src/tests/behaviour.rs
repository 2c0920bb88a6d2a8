//! Publish, fetch and answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;

use super::test_bus::{HEARTBEAT, LEASE, SUBJECT, TestBus, fetch_one, message, text};
use crate::{Access, Backlog, Bus, Delivery, MESSAGE_ID, Message};

pub(super) async fn a_message_arrives_whole(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let payload: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let headers =
        [("a", "1"), ("a", "2"), ("Content-Type", "x; charset=utf-8"), ("empty", ""), ("naïve", "no")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sent = Message {
        subject: SUBJECT.to_owned(),
        id: Some("id-1".to_owned()),
        headers: headers[..4].to_vec(),
        payload: Bytes::from(payload.clone()),
    };
    let before = Utc::now();
    let receipt = bus.publish(sent).await.unwrap();
    let delivery = fetch_one(&bus).await;
    assert_eq!(delivery.subject, SUBJECT);
    assert_eq!(delivery.payload, payload);
    let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    headers[..4].iter().for_each(|(name, value)| expected.entry(name).or_default().push(value));
    expected.insert(MESSAGE_ID, vec!["id-1"]);
    let mut got: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    delivery.headers.iter().for_each(|(name, value)| got.entry(name).or_default().push(value));
    assert_eq!(got, expected);
    assert_eq!((delivery.sequence, delivery.delivery_count, delivery.replay), (receipt.sequence, 1, 0));
    assert!((delivery.published_at - before).num_seconds().abs() < 5, "{}", delivery.published_at);
    assert_eq!(delivery.lease, LEASE);
}

pub(super) async fn an_acknowledged_message_never_comes_again(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bus.publish(message("one")).await.unwrap();
    fetch_one(&bus).await.ack().await.unwrap();
    tokio::time::sleep(LEASE).await;
    assert!(bus.fetch(SUBJECT, 10).await.unwrap().is_empty());
}

pub(super) async fn an_unanswered_message_comes_again_when_its_lease_ends(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bus.publish(message("one")).await.unwrap();
    let first = fetch_one(&bus).await;
    let start = Instant::now();
    let second = fetch_one(&bus).await;
    let waited = start.elapsed();
    assert!(waited > LEASE / 2 && waited < LEASE * 2, "{waited:?}");
    assert_eq!((first.delivery_count, second.delivery_count), (1, 2));
    assert_eq!(first.sequence, second.sequence);
    // The late answer of the first consumer counts, because its work is done.
    first.ack().await.unwrap();
    tokio::time::sleep(LEASE).await;
    assert!(bus.fetch(SUBJECT, 10).await.unwrap().is_empty());
}

pub(super) async fn progress_keeps_the_lease(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bus.publish(message("one")).await.unwrap();
    let delivery = fetch_one(&bus).await;
    for _ in 0..6 {
        tokio::time::sleep(LEASE / 3).await;
        delivery.in_progress().await.unwrap();
    }
    // Wait twice as long as the lease.
    let other = test_bus.open_another(&bus).await;
    let early = tokio::time::timeout(LEASE / 2, other.fetch(SUBJECT, 1)).await;
    assert!(early.is_err(), "{early:?}");
    delivery.ack().await.unwrap();
}

pub(super) async fn a_nak_comes_again_after_its_delay_and_not_before(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bus.publish(message("one")).await.unwrap();
    let delay = Duration::from_millis(1500);
    fetch_one(&bus).await.nak(delay).await.unwrap();
    let start = Instant::now();
    let again = fetch_one(&bus).await;
    assert_eq!(again.delivery_count, 2);
    let waited = start.elapsed();
    assert!(waited >= delay.mul_f32(0.9) && waited < delay * 2, "{waited:?}");
    again.nak(Duration::ZERO).await.unwrap();
    let start = Instant::now();
    assert_eq!(fetch_one(&bus).await.delivery_count, 3);
    assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
}

pub(super) async fn a_terminated_message_never_comes_again(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bus.publish(message("one")).await.unwrap();
    fetch_one(&bus).await.term().await.unwrap();
    tokio::time::sleep(LEASE).await;
    assert!(bus.fetch(SUBJECT, 10).await.unwrap().is_empty());
}

pub(super) async fn the_same_id_twice_is_stored_once(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let same = || Message { id: Some("same".to_owned()), ..message("one") };
    let first = bus.publish(same()).await.unwrap();
    let second = bus.publish(Message { subject: "item.saved".to_owned(), ..same() }).await.unwrap();
    assert!(!first.duplicate);
    assert!(second.duplicate);
    assert_eq!(first.sequence, second.sequence);
    assert_eq!(bus.fetch(SUBJECT, 10).await.unwrap().len(), 1);
    // The id counts wherever it is written.
    let headers = vec![(MESSAGE_ID.to_owned(), "same".to_owned())];
    assert!(bus.publish(Message { headers, ..message("one") }).await.unwrap().duplicate);
}

pub(super) async fn messages_without_an_id_are_never_duplicates(test_bus: TestBus) {
    let bus = test_bus.open().await;
    for _ in 0..3 {
        assert!(!bus.publish(message("same")).await.unwrap().duplicate);
    }
    assert_eq!(bus.fetch(SUBJECT, 10).await.unwrap().len(), 3);
}

pub(super) async fn two_consumers_share_and_none_gets_the_same(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let other = test_bus.open_another(&bus).await;
    for number in 0..40 {
        bus.publish(message(&number.to_string())).await.unwrap();
    }
    let drain = |bus: Bus| async move {
        let mut taken = Vec::new();
        loop {
            let deliveries = bus.fetch(SUBJECT, 3).await.unwrap();
            if deliveries.is_empty() {
                return taken;
            }
            for delivery in deliveries {
                tokio::time::sleep(Duration::from_millis(5)).await;
                assert_eq!(delivery.delivery_count, 1);
                delivery.ack().await.unwrap();
                taken.push(text(&delivery));
            }
        }
    };
    let (mut one, two) = tokio::join!(drain(bus), drain(other));
    assert!(!one.is_empty() && !two.is_empty(), "{one:?} {two:?}");
    one.extend(two);
    assert_eq!(one.len(), 40);
    assert_eq!(one.iter().collect::<BTreeSet<_>>().len(), 40);
}

pub(super) async fn subjects_are_kept_apart(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bus.publish(message("one")).await.unwrap();
    bus.publish(Message { subject: "item.saved".to_owned(), ..message("two") }).await.unwrap();
    let saved = bus.fetch("item.saved", 10).await.unwrap();
    assert_eq!(saved.iter().map(text).collect::<Vec<_>>(), ["two"]);
    let registered = bus.fetch(SUBJECT, 10).await.unwrap();
    assert_eq!(registered.iter().map(text).collect::<Vec<_>>(), ["one"]);
}

pub(super) async fn fetch_returns_at_most_max(test_bus: TestBus) {
    let bus = test_bus.open().await;
    for number in 0..10 {
        bus.publish(message(&number.to_string())).await.unwrap();
    }
    assert_eq!(bus.fetch(SUBJECT, 0).await.unwrap().len(), 0);
    assert_eq!(bus.fetch(SUBJECT, 4).await.unwrap().len(), 4);
    assert_eq!(bus.fetch(SUBJECT, 100).await.unwrap().len(), 6);
}

pub(super) async fn an_empty_fetch_ends_after_the_heartbeat(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let start = Instant::now();
    assert!(bus.fetch(SUBJECT, 1).await.unwrap().is_empty());
    let waited = start.elapsed();
    assert!(waited > HEARTBEAT / 2 && waited < HEARTBEAT * 2, "{waited:?}");
}

pub(super) async fn a_waiting_fetch_wakes_at_once(test_bus: TestBus) {
    let bus = test_bus.open().await;
    for _ in 0..5 {
        let waiting = tokio::spawn({
            let bus = bus.clone();
            async move { bus.fetch(SUBJECT, 5).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let start = Instant::now();
        bus.publish(message("one")).await.unwrap();
        let deliveries = waiting.await.unwrap();
        assert_eq!(deliveries.len(), 1);
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
        deliveries[0].ack().await.unwrap();
    }
}

pub(super) async fn a_cancelled_fetch_loses_nothing(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let cancelled = tokio::time::timeout(Duration::from_millis(300), bus.fetch(SUBJECT, 10)).await;
    assert!(cancelled.is_err());
    bus.publish(message("one")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    let delivery = fetch_one(&bus).await;
    assert_eq!((text(&delivery).as_str(), delivery.delivery_count), ("one", 1));
    assert!(start.elapsed() < LEASE / 2, "{:?}", start.elapsed());
}

pub(super) async fn fetches_cancelled_all_the_time_lose_nothing_and_burn_no_attempt(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let publisher = tokio::spawn({
        let bus = bus.clone();
        async move {
            for number in 0..60 {
                bus.publish(message(&number.to_string())).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let mut taken = BTreeSet::new();
    let start = Instant::now();
    let mut patience = 0;
    while taken.len() < 60 {
        assert!(start.elapsed() < Duration::from_secs(20), "{} of 60", taken.len());
        patience = (patience + 1) % 12;
        let limit = Duration::from_millis(patience);
        for delivery in
            tokio::time::timeout(limit, bus.fetch(SUBJECT, 3)).await.unwrap_or(Ok(vec![])).unwrap()
        {
            assert_eq!(delivery.delivery_count, 1);
            assert!(taken.insert(text(&delivery)));
            delivery.ack().await.unwrap();
        }
    }
    publisher.await.unwrap();
}

pub(super) async fn the_backlog_says_what_waits_and_what_is_in_flight(test_bus: TestBus) {
    let bus = test_bus.open().await;
    for number in 0..5 {
        bus.publish(message(&number.to_string())).await.unwrap();
    }
    let taken = bus.fetch(SUBJECT, 2).await.unwrap();
    let registered =
        |backlog: Vec<Backlog>| backlog.into_iter().find(|backlog| backlog.subject == SUBJECT).unwrap();
    let backlog = registered(bus.backlog().await.unwrap());
    assert_eq!((backlog.waiting, backlog.in_flight), (3, 2));
    taken[0].ack().await.unwrap();
    let backlog = registered(bus.backlog().await.unwrap());
    assert_eq!((backlog.waiting, backlog.in_flight), (3, 1));
    // A visiting process sees the same.
    let visitor = Bus::open(&test_bus.settings(), Access::Visit).await.unwrap();
    assert_eq!(registered(visitor.backlog().await.unwrap()), backlog);
}

pub(super) async fn subjects_are_added_and_never_removed(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bus.ensure_subjects(&BTreeSet::from(["new".to_owned()])).await.unwrap();
    assert_eq!(bus.subjects().await.unwrap(), ["item-registered", "item.saved", "new"]);
    bus.publish(Message { subject: "new".to_owned(), ..message("one") }).await.unwrap();
    assert_eq!(bus.fetch("new", 5).await.unwrap().len(), 1);
}

pub(super) async fn a_subject_that_nobody_added_is_an_error_to_publish_to(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let error = bus.publish(Message { subject: "unknown".to_owned(), ..message("one") }).await.unwrap_err();
    assert!(error.try_again() && error.to_string().contains("subject unknown"), "{error}");
}

pub(super) async fn a_malformed_message_is_refused_for_good(test_bus: TestBus) {
    let bus = test_bus.open().await;
    for subject in ["", "a b", "a..b", "a.*", ">", "a\nb"] {
        let error = bus.publish(Message { subject: subject.to_owned(), ..message("one") }).await.unwrap_err();
        assert!(!error.try_again(), "{subject:?}: {error}");
    }
    for (name, value) in [("a b", "1"), ("a:b", "1"), ("", "1"), ("a", "1\r\nb: 2"), ("ü", "1")] {
        let headers = vec![(name.to_owned(), value.to_owned())];
        let error = bus.publish(Message { headers, ..message("one") }).await.unwrap_err();
        assert!(!error.try_again(), "{name:?}: {error}");
    }
    bus.publish(message("one")).await.unwrap();
}

pub(super) async fn a_message_that_is_too_large_is_refused_for_good(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let payload = Bytes::from(vec![7; 2 * 1024 * 1024]);
    let error = bus.publish(Message { payload, ..message("") }).await.unwrap_err();
    assert!(!error.try_again(), "{error}");
    let payload = Bytes::from(vec![7; 1024 * 1024 - 1000]);
    bus.publish(Message { payload: payload.clone(), ..message("") }).await.unwrap();
    assert_eq!(fetch_one(&bus).await.payload, payload);
}

pub(super) async fn health_follows_the_fetches(mut test_bus: TestBus) {
    let bus = test_bus.open().await;
    let health = bus.check(Duration::from_secs(1)).await;
    assert_eq!(health.problem, None); // nothing fetched yet: only asked
    bus.publish(message("one")).await.unwrap();
    fetch_one(&bus).await.ack().await.unwrap();
    assert_eq!(bus.check(Duration::from_secs(5)).await.problem, None);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    // A lane that does not fetch, because all places are taken, waits for no answer.
    assert_eq!(bus.check(Duration::from_secs(1)).await.problem, None);
    assert!(bus.fetch(SUBJECT, 1).await.unwrap().is_empty()); // a heartbeat
    assert_eq!(bus.check(Duration::from_secs(1)).await.problem, None);
    if matches!(test_bus, TestBus::JetStream(_)) {
        test_bus.stop_server();
        // The client hears of it a little later.
        let start = Instant::now();
        while bus.check(Duration::from_mins(1)).await.problem.is_none() {
            assert!(start.elapsed() < Duration::from_secs(5), "a server that is gone is not noticed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(super) async fn everything_survives_a_restart(mut test_bus: TestBus) {
    let bus = test_bus.open().await;
    for number in 0..20 {
        let id = Some(format!("id-{number}"));
        bus.publish(Message { id, ..message(&number.to_string()) }).await.unwrap();
    }
    let taken = bus.fetch(SUBJECT, 5).await.unwrap();
    taken[0].ack().await.unwrap();
    // The server is killed while a client uses it; the embedded bus dies with its process.
    let again = match &mut test_bus {
        TestBus::JetStream(server) => {
            // The server writes acknowledgements to the disk a little later, so a kill before that delivers again.
            tokio::time::sleep(Duration::from_secs(1)).await;
            server.stop();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let error = bus.fetch(SUBJECT, 1).await.unwrap_err();
            assert!(error.try_again(), "{error}");
            test_bus.start_server();
            bus
        }
        TestBus::Embedded(_) => {
            bus.close().await;
            drop((bus, taken));
            test_bus.open().await
        }
    };
    let mut rest = BTreeSet::new();
    let start = Instant::now();
    while rest.len() < 19 {
        assert!(start.elapsed() < Duration::from_secs(30), "{rest:?}");
        match again.fetch(SUBJECT, 7).await {
            Ok(deliveries) => {
                for delivery in deliveries {
                    delivery.ack().await.unwrap();
                    rest.insert(text(&delivery));
                }
            }
            Err(error) => assert!(error.try_again(), "{error}"),
        }
    }
    assert!(!rest.contains("0"), "acknowledged before");
    let repeat = Message { id: Some("id-7".to_owned()), ..message("7") };
    assert!(again.publish(repeat).await.unwrap().duplicate);
}

pub(super) async fn order_is_kept(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    for payload in &expected {
        bus.publish(message(payload)).await.unwrap();
    }
    let mut taken = Vec::new();
    while taken.len() < 50 {
        taken.extend(bus.fetch(SUBJECT, 8).await.unwrap().iter().map(text));
    }
    assert_eq!(taken, expected);
}

pub(super) async fn tries_are_counted_apart_from_deliveries_and_outlive_the_process(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bus.publish(message("one")).await.unwrap();
    let first = fetch_one(&bus).await;
    assert_eq!((first.delivery_count, first.attempts), (1, 0));
    first.nak(Duration::ZERO).await.unwrap();
    let second = fetch_one(&bus).await;
    assert_eq!((second.delivery_count, second.attempts), (2, 0), "handed back is not tried");
    bus.record_attempts(&second, 1).await.unwrap();
    second.nak(Duration::ZERO).await.unwrap();
    let third = fetch_one(&bus).await;
    assert_eq!(third.attempts, 1);
    bus.record_attempts(&third, 2).await.unwrap();
    third.nak(Duration::ZERO).await.unwrap();
    bus.close().await;
    let bus = test_bus.open().await;
    assert_eq!(fetch_one(&bus).await.attempts, 2);
    // Nothing is known of another message.
    bus.publish(message("two")).await.unwrap();
    fetch_one(&bus).await.nak(Duration::ZERO).await.unwrap();
    assert_eq!(fetch_one(&bus).await.attempts, 0);
}

pub(super) async fn what_the_bus_does_not_keep_is_known_by_its_ids(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let before = Utc::now();
    let wanted = || BTreeSet::from(["a", "b", "c"].map(str::to_owned));
    assert_eq!(bus.missing(SUBJECT, before, wanted()).await.unwrap(), wanted());
    for id in ["x", "a", "y", "c", "z"] {
        bus.publish(Message { id: Some(id.to_owned()), ..message("") }).await.unwrap();
    }
    let missing = bus.missing(SUBJECT, before - Duration::from_secs(1), wanted()).await.unwrap();
    assert_eq!(missing, BTreeSet::from(["b".to_owned()]));
    // None of these ids is on another subject.
    assert_eq!(bus.missing("item.saved", before, wanted()).await.unwrap(), wanted());
}

pub(super) async fn messages_of_every_size_come_and_what_is_in_hand_stays_below_the_budget(
    test_bus: TestBus,
) {
    let bus = test_bus.open().await;
    let sizes = [10, 900_000, 20_000, 150_000, 1_000_000, 1_000_000, 40_000, 900_000, 5, 990_000, 130_000];
    let count = 40;
    for number in 0..count {
        let payload = Bytes::from(vec![7; sizes[number % sizes.len()]]);
        bus.publish(Message { payload, ..message("") }).await.unwrap();
    }
    // Keep each delivery until the budget is full: then nothing comes before one is freed.
    let (mut taken, mut most, mut hand) = (0, 0, std::collections::VecDeque::new());
    while taken < count {
        if let Ok(fetched) = tokio::time::timeout(LEASE / 4, bus.fetch(SUBJECT, 10)).await {
            let fetched = fetched.unwrap();
            taken += fetched.len();
            hand.extend(fetched);
            most = most.max(hand.iter().map(Delivery::size).sum());
        } else {
            let mut oldest: Delivery = hand.pop_front().expect("room for one at least");
            oldest.let_go();
            oldest.ack().await.unwrap();
        }
        for delivery in &hand {
            delivery.in_progress().await.unwrap();
        }
    }
    assert!((3_000_000..8 << 20).contains(&most), "{most}");
}

pub(super) async fn a_lane_whose_messages_stay_in_hand_holds_up_no_other(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let large = || Message { payload: Bytes::from(vec![7; 100_000]), ..message("") };
    for _ in 0..100 {
        bus.publish(large()).await.unwrap();
    }
    let mut hung = Vec::new();
    while let Ok(fetched) = tokio::time::timeout(LEASE / 4, bus.fetch(SUBJECT, 10)).await {
        hung.extend(fetched.unwrap());
    }
    assert!(hung.len() < 60, "{}", hung.len());
    for _ in 0..10 {
        bus.publish(Message { subject: "item.saved".to_owned(), ..large() }).await.unwrap();
    }
    let mut others = 0;
    while others < 10 {
        let fetched = bus.fetch("item.saved", 10).await.unwrap();
        others += fetched.len();
    }
    assert_eq!(bus.check(Duration::from_secs(30)).await.problem, None);
}
