//! Publish, fetch and answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;

use super::place::{HEARTBEAT, LEASE, Place, SUBJECT, fetch_one, message, text};
use crate::bus::{Access, Backlog, Bus, MESSAGE_ID, Message};

pub(super) async fn a_message_arrives_whole(place: Place) {
    let bus = place.open().await;
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
    assert_eq!((delivery.sequence, delivery.attempt, delivery.replay), (receipt.sequence, 1, 0));
    assert!((delivery.published_at - before).num_seconds().abs() < 5, "{}", delivery.published_at);
    assert_eq!(delivery.lease, LEASE);
}

pub(super) async fn an_acknowledged_message_never_comes_again(place: Place) {
    let bus = place.open().await;
    bus.publish(message("one")).await.unwrap();
    fetch_one(&bus).await.ack().await.unwrap();
    tokio::time::sleep(LEASE).await;
    assert!(bus.fetch(SUBJECT, 10).await.unwrap().is_empty());
}

pub(super) async fn an_unanswered_message_comes_again_when_its_lease_ends(place: Place) {
    let bus = place.open().await;
    bus.publish(message("one")).await.unwrap();
    let first = fetch_one(&bus).await;
    let start = Instant::now();
    let second = fetch_one(&bus).await;
    let waited = start.elapsed();
    assert!(waited > LEASE / 2 && waited < LEASE * 2, "{waited:?}");
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_eq!(first.sequence, second.sequence);
    // The late answer of the first counts: its work is done.
    first.ack().await.unwrap();
    tokio::time::sleep(LEASE).await;
    assert!(bus.fetch(SUBJECT, 10).await.unwrap().is_empty());
}

pub(super) async fn progress_keeps_the_lease(place: Place) {
    let bus = place.open().await;
    bus.publish(message("one")).await.unwrap();
    let delivery = fetch_one(&bus).await;
    for _ in 0..6 {
        tokio::time::sleep(LEASE / 3).await;
        delivery.in_progress().await.unwrap();
    }
    // Twice the lease is over.
    let other = place.open_another(&bus).await;
    let early = tokio::time::timeout(LEASE / 2, other.fetch(SUBJECT, 1)).await;
    assert!(early.is_err(), "{early:?}");
    delivery.ack().await.unwrap();
}

pub(super) async fn a_nak_comes_again_after_its_delay_and_not_before(place: Place) {
    let bus = place.open().await;
    bus.publish(message("one")).await.unwrap();
    let delay = Duration::from_millis(1500);
    fetch_one(&bus).await.nak(delay).await.unwrap();
    let start = Instant::now();
    let again = fetch_one(&bus).await;
    assert_eq!(again.attempt, 2);
    let waited = start.elapsed();
    assert!(waited >= delay.mul_f32(0.9) && waited < delay * 2, "{waited:?}");
    again.nak(Duration::ZERO).await.unwrap();
    let start = Instant::now();
    assert_eq!(fetch_one(&bus).await.attempt, 3);
    assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
}

pub(super) async fn a_terminated_message_never_comes_again(place: Place) {
    let bus = place.open().await;
    bus.publish(message("one")).await.unwrap();
    fetch_one(&bus).await.term().await.unwrap();
    tokio::time::sleep(LEASE).await;
    assert!(bus.fetch(SUBJECT, 10).await.unwrap().is_empty());
}

pub(super) async fn the_same_id_twice_is_stored_once(place: Place) {
    let bus = place.open().await;
    let same = || Message { id: Some("same".to_owned()), ..message("one") };
    let first = bus.publish(same()).await.unwrap();
    let second = bus.publish(Message { subject: "customer.saved".to_owned(), ..same() }).await.unwrap();
    assert!(!first.duplicate);
    assert!(second.duplicate);
    assert_eq!(first.sequence, second.sequence);
    assert_eq!(bus.fetch(SUBJECT, 10).await.unwrap().len(), 1);
    // The id counts wherever it is written.
    let headers = vec![(MESSAGE_ID.to_owned(), "same".to_owned())];
    assert!(bus.publish(Message { headers, ..message("one") }).await.unwrap().duplicate);
}

pub(super) async fn messages_without_an_id_are_never_duplicates(place: Place) {
    let bus = place.open().await;
    for _ in 0..3 {
        assert!(!bus.publish(message("same")).await.unwrap().duplicate);
    }
    assert_eq!(bus.fetch(SUBJECT, 10).await.unwrap().len(), 3);
}

pub(super) async fn two_consumers_share_and_none_gets_the_same(place: Place) {
    let bus = place.open().await;
    let other = place.open_another(&bus).await;
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
                assert_eq!(delivery.attempt, 1);
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

pub(super) async fn subjects_are_kept_apart(place: Place) {
    let bus = place.open().await;
    bus.publish(message("one")).await.unwrap();
    bus.publish(Message { subject: "customer.saved".to_owned(), ..message("two") }).await.unwrap();
    let saved = bus.fetch("customer.saved", 10).await.unwrap();
    assert_eq!(saved.iter().map(text).collect::<Vec<_>>(), ["two"]);
    let registered = bus.fetch(SUBJECT, 10).await.unwrap();
    assert_eq!(registered.iter().map(text).collect::<Vec<_>>(), ["one"]);
}

pub(super) async fn fetch_returns_at_most_max(place: Place) {
    let bus = place.open().await;
    for number in 0..10 {
        bus.publish(message(&number.to_string())).await.unwrap();
    }
    assert_eq!(bus.fetch(SUBJECT, 0).await.unwrap().len(), 0);
    assert_eq!(bus.fetch(SUBJECT, 4).await.unwrap().len(), 4);
    assert_eq!(bus.fetch(SUBJECT, 100).await.unwrap().len(), 6);
}

pub(super) async fn an_empty_fetch_ends_after_the_heartbeat(place: Place) {
    let bus = place.open().await;
    let start = Instant::now();
    assert!(bus.fetch(SUBJECT, 1).await.unwrap().is_empty());
    let waited = start.elapsed();
    assert!(waited > HEARTBEAT / 2 && waited < HEARTBEAT * 2, "{waited:?}");
}

pub(super) async fn a_waiting_fetch_wakes_at_once(place: Place) {
    let bus = place.open().await;
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

pub(super) async fn a_cancelled_fetch_loses_nothing(place: Place) {
    let bus = place.open().await;
    let cancelled = tokio::time::timeout(Duration::from_millis(300), bus.fetch(SUBJECT, 10)).await;
    assert!(cancelled.is_err());
    bus.publish(message("one")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    let delivery = fetch_one(&bus).await;
    assert_eq!((text(&delivery).as_str(), delivery.attempt), ("one", 1));
    assert!(start.elapsed() < LEASE / 2, "{:?}", start.elapsed());
}

pub(super) async fn fetches_cancelled_all_the_time_lose_nothing_and_burn_no_attempt(place: Place) {
    let bus = place.open().await;
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
            assert_eq!(delivery.attempt, 1);
            assert!(taken.insert(text(&delivery)));
            delivery.ack().await.unwrap();
        }
    }
    publisher.await.unwrap();
}

pub(super) async fn the_backlog_says_what_waits_and_what_is_in_flight(place: Place) {
    let bus = place.open().await;
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
    // A visitor sees the same.
    let visitor = Bus::open(&place.settings(), Access::Visit).await.unwrap();
    assert_eq!(registered(visitor.backlog().await.unwrap()), backlog);
}

pub(super) async fn subjects_are_added_and_never_removed(place: Place) {
    let bus = place.open().await;
    bus.ensure_subjects(&BTreeSet::from(["new".to_owned()])).await.unwrap();
    assert_eq!(bus.subjects().await.unwrap(), ["customer-registered", "customer.saved", "new"]);
    bus.publish(Message { subject: "new".to_owned(), ..message("one") }).await.unwrap();
    assert_eq!(bus.fetch("new", 5).await.unwrap().len(), 1);
}

pub(super) async fn a_subject_that_nobody_added_is_an_error_to_publish_to(place: Place) {
    let bus = place.open().await;
    let error = bus.publish(Message { subject: "unknown".to_owned(), ..message("one") }).await.unwrap_err();
    assert!(error.try_again() && error.to_string().contains("subject unknown"), "{error}");
}

pub(super) async fn a_malformed_message_is_refused_for_good(place: Place) {
    let bus = place.open().await;
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

pub(super) async fn a_message_that_is_too_large_is_refused_for_good(place: Place) {
    let bus = place.open().await;
    let payload = Bytes::from(vec![7; 2 * 1024 * 1024]);
    let error = bus.publish(Message { payload, ..message("") }).await.unwrap_err();
    assert!(!error.try_again(), "{error}");
    let payload = Bytes::from(vec![7; 1024 * 1024 - 1000]);
    bus.publish(Message { payload: payload.clone(), ..message("") }).await.unwrap();
    assert_eq!(fetch_one(&bus).await.payload, payload);
}

pub(super) async fn health_follows_the_fetches(mut place: Place) {
    let bus = place.open().await;
    let health = bus.check(Duration::from_secs(1)).await;
    assert_eq!(health.problem, None); // nothing fetched yet: only asked
    bus.publish(message("one")).await.unwrap();
    fetch_one(&bus).await.ack().await.unwrap();
    assert_eq!(bus.check(Duration::from_secs(5)).await.problem, None);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    // Who fetches nothing, because all places are taken, waits for no answer.
    assert_eq!(bus.check(Duration::from_secs(1)).await.problem, None);
    assert!(bus.fetch(SUBJECT, 1).await.unwrap().is_empty()); // a heartbeat
    assert_eq!(bus.check(Duration::from_secs(1)).await.problem, None);
    if matches!(place, Place::JetStream(_)) {
        place.stop_server();
        assert!(bus.check(Duration::from_mins(1)).await.problem.is_some());
    }
}

pub(super) async fn everything_survives_a_restart(mut place: Place) {
    let bus = place.open().await;
    for number in 0..20 {
        let id = Some(format!("id-{number}"));
        bus.publish(Message { id, ..message(&number.to_string()) }).await.unwrap();
    }
    let taken = bus.fetch(SUBJECT, 5).await.unwrap();
    taken[0].ack().await.unwrap();
    // The server dies under a client; the embedded bus dies with its process.
    let again = match &mut place {
        Place::JetStream(server) => {
            // The server writes acknowledgements to the disk a little later; a kill before that delivers again.
            tokio::time::sleep(Duration::from_secs(1)).await;
            server.stop();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let error = bus.fetch(SUBJECT, 1).await.unwrap_err();
            assert!(error.try_again(), "{error}");
            place.start_server();
            bus
        }
        Place::Embedded(_) => {
            bus.close().await;
            drop((bus, taken));
            place.open().await
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

pub(super) async fn order_is_kept(place: Place) {
    let bus = place.open().await;
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
