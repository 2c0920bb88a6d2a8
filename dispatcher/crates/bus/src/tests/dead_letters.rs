//! Dead letters are whole, stored once, and can be replayed.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::Utc;

use super::test_bus::{SUBJECT, TestBus, fetch_one, message};
use crate::{Bus, DeadLetter, DeadLetterInfo, Filter, MESSAGE_ID, Message, REPLAY};
use job::{Failure, FailureClass, Report};
use shared::nats::DEFAULT_STREAM;

fn because(reason: &str) -> Failure {
    Failure::new(FailureClass::PodFailurePolicy, reason)
}

fn info() -> DeadLetterInfo {
    DeadLetterInfo {
        failure: Failure {
            report: Report::from_text("unknown tier: \"gold\"\r\n\tat line \\n 2"),
            ..Failure::new(FailureClass::PodFailurePolicy, "the job failed")
        },
        triggers: vec!["a-trigger".to_owned(), "b-trigger".to_owned()],
        flow_key: "Acme & Söhne #1".to_owned(),
        event_id: "test-event-001".to_owned(),
        attempts: 1,
        first_failed_at: Some(Utc::now()),
    }
}

fn all_bytes() -> Message {
    let headers = [
        ("X-Any", "ü \\n \"quoted\": a:b"),
        ("X-Any", "twice"),
        ("dead-letter-reason", "mine"),
        ("ce-id", "7"),
    ];
    Message {
        subject: SUBJECT.to_owned(),
        id: Some("event-1".to_owned()),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        payload: (0..=255).cycle().take(1000).collect(),
    }
}

fn sorted(headers: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        map.entry(name.clone()).or_default().push(value.clone());
    }
    map
}

/// Publishes, fetches, gives up.
async fn bury(bus: &Bus, message: Message, info: &DeadLetterInfo) {
    bus.publish(message).await.unwrap();
    let delivery = fetch_one(bus).await;
    bus.dead_letter(&delivery, info).await.unwrap();
    delivery.term().await.unwrap();
}

async fn letters(bus: &Bus) -> Vec<DeadLetter> {
    bus.dead_letters(&Filter::default()).await.unwrap().letters
}

pub(super) async fn a_dead_letter_keeps_every_byte(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let sent = all_bytes();
    bury(&bus, sent.clone(), &info()).await;
    let letter = letters(&bus).await.remove(0);
    assert_eq!(letter.subject, SUBJECT);
    assert_eq!(letter.payload, sent.payload);
    let mut headers = sent.headers.clone();
    headers.push((MESSAGE_ID.to_owned(), "event-1".to_owned()));
    assert_eq!(sorted(&letter.headers), sorted(&headers));
    let mut expected = info();
    expected.first_failed_at = letter.info.first_failed_at;
    assert_eq!(letter.info, expected);
    assert!(letter.info.first_failed_at.is_some());
    assert_eq!((letter.info.attempts, letter.replay, letter.sequence), (1, 0, 1));
    assert!((Utc::now() - letter.failed_at).num_seconds() < 10);
    assert!(letter.published_at.is_some_and(|at| at <= letter.failed_at));
    assert_eq!(bus.dead_letter_by_number(letter.number).await.unwrap(), Some(letter));
    assert_eq!(bus.dead_letter_count().await.unwrap(), 1);
}

pub(super) async fn the_same_dead_letter_twice_is_one(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bus.publish(message("same")).await.unwrap();
    bus.publish(message("same")).await.unwrap();
    let one = fetch_one(&bus).await;
    bus.dead_letter(&one, &info()).await.unwrap();
    bus.dead_letter(&one, &info()).await.unwrap();
    assert_eq!(letters(&bus).await.len(), 1);
    // Another message is another letter, even with the same bytes.
    bus.dead_letter(&fetch_one(&bus).await, &info()).await.unwrap();
    assert_eq!(letters(&bus).await.len(), 2);
}

pub(super) async fn a_replay_arrives_whole_under_a_new_id(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let sent = all_bytes();
    bury(&bus, sent.clone(), &info()).await;
    let number = letters(&bus).await[0].number;
    let receipt = bus.replay(number).await.unwrap().unwrap();
    assert!(!receipt.duplicate);
    assert!(letters(&bus).await.is_empty());
    let delivery = fetch_one(&bus).await;
    assert_eq!((delivery.payload.clone(), delivery.replay, delivery.delivery_count), (sent.payload, 1, 1));
    let mut got = sorted(&delivery.headers);
    assert_ne!(got.remove(MESSAGE_ID).unwrap(), ["event-1"]);
    assert_eq!(got.remove(REPLAY).unwrap(), ["1"]);
    assert_eq!(got, sorted(&sent.headers));
    assert_eq!(bus.replay(number).await.unwrap(), None);
}

pub(super) async fn a_replay_that_fails_again_counts_on(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bury(&bus, all_bytes(), &info()).await;
    for replay in 1..=3 {
        let letter = letters(&bus).await.remove(0);
        assert_eq!(letter.replay, replay - 1);
        assert!(!bus.replay(letter.number).await.unwrap().unwrap().duplicate);
        let delivery = fetch_one(&bus).await;
        assert_eq!(delivery.replay, replay);
        bus.dead_letter(&delivery, &info()).await.unwrap();
        delivery.term().await.unwrap();
        assert_eq!(letters(&bus).await.len(), 1);
    }
}

pub(super) async fn a_replay_repeated_after_a_crash_is_not_published_twice(test_bus: TestBus) {
    let bus = test_bus.open().await;
    bury(&bus, all_bytes(), &info()).await;
    let letter = letters(&bus).await.remove(0);
    // It was published, and then the process died before it could remove the letter.
    assert!(!bus.publish(letter.replayed(true)).await.unwrap().duplicate);
    assert!(bus.replay(letter.number).await.unwrap().unwrap().duplicate);
    assert!(letters(&bus).await.is_empty());
    assert_eq!(bus.fetch(SUBJECT, 10).await.unwrap().len(), 1);
}

pub(super) async fn a_dropped_letter_is_gone(test_bus: TestBus) {
    let bus = test_bus.open().await;
    assert!(!bus.drop_dead_letter(1).await.unwrap());
    assert_eq!(bus.dead_letter_by_number(1).await.unwrap(), None);
    bury(&bus, all_bytes(), &info()).await;
    let number = letters(&bus).await[0].number;
    assert!(bus.drop_dead_letter(number).await.unwrap());
    assert!(!bus.drop_dead_letter(number).await.unwrap());
    assert_eq!(bus.dead_letter_by_number(number).await.unwrap(), None);
    assert_eq!(bus.dead_letter_count().await.unwrap(), 0);
}

pub(super) async fn letters_are_listed_in_pages_and_by_filter(test_bus: TestBus) {
    let bus = test_bus.open().await;
    for number in 0..7 {
        let flow_key = if number % 2 == 0 { "even".to_owned() } else { String::new() };
        let failure = because(&format!("reason {number}"));
        let payload = Bytes::from(format!("{{\"name\":\"Item-{number}\"}}"));
        bury(&bus, Message { payload, ..message("") }, &DeadLetterInfo { failure, flow_key, ..info() }).await;
    }
    let list = async |filter: Filter| {
        let page = bus.dead_letters(&filter).await.unwrap();
        (page.letters.into_iter().map(|letter| letter.info.failure.message).collect::<Vec<_>>(), page.next)
    };
    let (first, next) = list(Filter { limit: 4, ..Filter::default() }).await;
    assert_eq!(first, ["reason 0", "reason 1", "reason 2", "reason 3"]);
    let (second, next) = list(Filter { limit: 4, after: next.unwrap(), ..Filter::default() }).await;
    assert_eq!(
        (second.as_slice(), next),
        (&["reason 4", "reason 5", "reason 6"].map(str::to_owned)[..], None)
    );
    let (even, _) = list(Filter { flow: Some("EVEN".to_owned()), ..Filter::default() }).await;
    assert_eq!(even.len(), 4);
    let (inside, _) = list(Filter { flow: Some("item-3".to_owned()), ..Filter::default() }).await;
    assert_eq!(inside, ["reason 3"]);
    let (reason, _) = list(Filter { reason: Some("son 5".to_owned()), ..Filter::default() }).await;
    assert_eq!(reason, ["reason 5"]);
    let (subject, _) = list(Filter { subject: Some(SUBJECT.to_owned()), ..Filter::default() }).await;
    assert_eq!(subject.len(), 7);
    let (other, _) = list(Filter { subject: Some("item.saved".to_owned()), ..Filter::default() }).await;
    assert!(other.is_empty());
}

pub(super) async fn headers_that_steer_the_server_do_no_harm(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let steering = [("Nats-Expected-Stream", DEFAULT_STREAM), ("nats-msg-id", "lower"), ("Replay", "soon")];
    let headers = steering.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    bury(&bus, Message { headers, ..message("one") }, &info()).await;
    let letter = letters(&bus).await.remove(0);
    bus.replay(letter.number).await.unwrap().unwrap();
    assert_eq!(fetch_one(&bus).await.replay, 1);
}

pub(super) async fn a_long_message_of_the_job_is_cut(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let long = "ö\n".repeat(100_000);
    let failure = Failure { report: Report::from_text(&long), ..because(&long) };
    bury(&bus, message("one"), &DeadLetterInfo { failure, ..info() }).await;
    let letter = letters(&bus).await.remove(0);
    assert!(
        letter.info.failure.message.len() < 3000 && letter.info.failure.message.ends_with('…'),
        "{}",
        letter.info.failure.message.len()
    );
}

pub(super) async fn a_message_as_large_as_may_be_is_kept_whole(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let payload = |bytes: usize| Bytes::from(vec![0xA7; bytes]);
    let headers: Vec<_> = (0..75).map(|number| (format!("X-{number}"), "ü\\n".repeat(200))).collect();
    let most = 1024 * 1024 - 200;
    let headers_take = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>() + 20;
    for (headers, bytes) in [(Vec::new(), most), (headers, most - headers_take)] {
        bury(&bus, Message { headers: headers.clone(), payload: payload(bytes), ..message("") }, &info())
            .await;
        test_bus.purge().await;
        let letter = letters(&bus).await.remove(0);
        assert!(
            letter.payload == payload(bytes) && letter.info.failure.class == FailureClass::PodFailurePolicy
        );
        let found = bus.dead_letter_by_number(letter.number).await.unwrap().unwrap();
        assert!(sorted(&found.headers) == sorted(&headers) && found.payload == payload(bytes));
        // In a list without events it is as short as any other.
        let filter = Filter { payloads: false, ..Filter::default() };
        assert_eq!(bus.dead_letters(&filter).await.unwrap().letters.len(), 1);
        bus.replay(letter.number).await.unwrap().unwrap();
        let again = fetch_one(&bus).await;
        assert!(again.payload == payload(bytes) && again.replay == 1);
        bus.dead_letter(&again, &info()).await.unwrap();
        again.term().await.unwrap();
        let letter = letters(&bus).await.remove(0);
        assert_eq!(letter.replay, 1);
        assert!(bus.drop_dead_letter(letter.number).await.unwrap());
        assert_eq!(letters(&bus).await.len(), 0);
        assert_eq!(test_bus.stored_dead_letters().await, 0);
    }
}

pub(super) async fn letters_with_gaps_between_them_are_all_found_once(test_bus: TestBus) {
    let bus = test_bus.open().await;
    for number in 0..60 {
        bury(&bus, message(""), &DeadLetterInfo { failure: because(&format!("reason {number}")), ..info() })
            .await;
    }
    let all = letters(&bus).await;
    for letter in all.iter().filter(|letter| letter.number % 7 != 0 && !(20..50).contains(&letter.number)) {
        assert!(bus.drop_dead_letter(letter.number).await.unwrap());
    }
    let left: Vec<_> = letters(&bus).await.iter().map(|letter| letter.number).collect();
    assert_eq!(left.len(), 33, "{left:?}");
    for limit in [1, 7, 100] {
        let mut filter = Filter { limit, payloads: false, ..Filter::default() };
        let mut found = Vec::new();
        loop {
            let page = bus.dead_letters(&filter).await.unwrap();
            assert!(page.letters.iter().all(|letter| letter.payload.is_empty()));
            found.extend(page.letters.iter().map(|letter| letter.number));
            let Some(next) = page.next else { break };
            filter.after = next;
        }
        assert_eq!(found, left);
    }
}

pub(super) async fn a_masked_search_looks_at_nothing_that_is_not_shown(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let told = DeadLetterInfo { failure: because("of ann@x.io"), flow_key: "bob@x.io".to_owned(), ..info() };
    let payload = Bytes::from_static(b"{\"name\":\"inside\"}");
    bury(&bus, Message { payload, ..message("") }, &told).await;
    let found = async |flow: Option<&str>, reason: Option<&str>, masked| {
        let (flow, reason) = (flow.map(str::to_owned), reason.map(str::to_owned));
        let filter = Filter { flow, reason, masked, payloads: false, ..Filter::default() };
        bus.dead_letters(&filter).await.unwrap().letters.len() == 1
    };
    for (flow, reason, open, masked) in [
        (Some("bob@"), None, true, false),
        (Some("inside"), None, true, false),
        (None, Some("ann"), true, false),
        (Some("B***@X"), None, false, true),
        (None, Some("a***@x.io"), false, true),
        (Some("@x.io"), Some("@x.io"), true, true),
    ] {
        assert_eq!(found(flow, reason, false).await, open, "{flow:?} {reason:?}");
        assert_eq!(found(flow, reason, true).await, masked, "{flow:?} {reason:?} masked");
    }
}

pub(super) async fn whatever_lies_among_the_dead_letters_can_be_dropped_by_its_number(test_bus: TestBus) {
    let bus = test_bus.open().await;
    let large = Bytes::from(vec![7; 1024 * 1024 - 1000]);
    bury(&bus, Message { headers: all_bytes().headers, payload: large.clone(), ..message("") }, &info())
        .await;
    for headers in [
        &[][..],
        &[("A", "b")],
        // Other letters that look as if they were stored in parts.
        &[("Dead-Letter-Subject", SUBJECT), ("Dead-Letter-Parts", "2"), (MESSAGE_ID, "*")],
        &[("Dead-Letter-Subject", SUBJECT), ("Dead-Letter-Parts", "2")],
        &[("Dead-Letter-Subject", SUBJECT), ("Dead-Letter-Payload-Left-At", "99999")],
        &[("Dead-Letter-Subject", "$JS.API.STREAM.PURGE.any")],
    ] {
        test_bus.store_among_dead_letters(headers, &large[..2000]).await;
    }
    let filter = Filter { payloads: false, ..Filter::default() };
    let listed = bus.dead_letters(&filter).await.unwrap().letters;
    assert_eq!(listed.len(), 7);
    for number in listed[1..].iter().map(|letter| letter.number) {
        assert!(bus.drop_dead_letter(number).await.unwrap(), "{number}");
        assert!(!bus.drop_dead_letter(number).await.unwrap(), "{number}");
        assert_eq!(bus.dead_letter_by_number(number).await.unwrap(), None);
    }
    assert_eq!(bus.dead_letter_count().await.unwrap(), 1);
    // No number drops a part of another letter.
    let first = listed[0].number;
    for number in (1..20).filter(|number| *number != first) {
        assert!(!bus.drop_dead_letter(number).await.unwrap());
    }
    assert_eq!(bus.dead_letter_by_number(first).await.unwrap().unwrap().payload, large);
}
