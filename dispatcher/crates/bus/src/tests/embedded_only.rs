//! What only the embedded bus has: one consuming process, visitors, a file.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::test_bus::{SUBJECT, TestBus, fetch_one, message, text};
use crate::{Access, Bus, Error, Message, Settings};

#[tokio::test]
async fn a_second_consuming_process_is_refused_with_the_first_ones_id() {
    let test_bus = TestBus::embedded();
    let bus = test_bus.open().await;
    let error = Bus::open(&test_bus.settings(), Access::Consume).await.unwrap_err();
    assert!(matches!(error, Error::Configuration(_)), "{error:?}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    bus.close().await;
    test_bus.open().await;
}

#[tokio::test]
async fn a_visitor_publishes_and_the_owner_wakes() {
    let test_bus = TestBus::embedded();
    let bus = test_bus.open().await;
    let visitor = Bus::open(&test_bus.settings(), Access::Visit).await.unwrap();
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { fetch_one(&bus).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    visitor.publish(message("from outside")).await.unwrap();
    let start = Instant::now();
    assert_eq!(text(&waiting.await.unwrap()), "from outside");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let error = visitor.fetch(SUBJECT, 1).await.unwrap_err();
    assert!(!error.try_again(), "{error}");
}

#[tokio::test]
async fn the_leases_of_a_dead_process_come_back_at_once() {
    let test_bus = TestBus::embedded();
    let settings = Settings { lease: Duration::from_hours(1), ..test_bus.settings() };
    let bus = Bus::open(&settings, Access::Consume).await.unwrap();
    bus.ensure_subjects(&BTreeSet::from([SUBJECT.to_owned()])).await.unwrap();
    bus.publish(message("one")).await.unwrap();
    let lost = fetch_one(&bus).await;
    // The nearest to a crash that one process can get: nothing is answered or handed back.
    bus.close().await;
    drop((lost, bus));
    let again = Bus::open(&settings, Access::Consume).await.unwrap();
    let delivery = fetch_one(&again).await;
    assert_eq!(delivery.delivery_count, 2);
}

#[tokio::test]
async fn an_answered_message_leaves_the_file() {
    let test_bus = TestBus::embedded();
    let bus = test_bus.open().await;
    let TestBus::Embedded(folder) = &test_bus else { unreachable!() };
    let mut sizes = Vec::new();
    for _ in 0..5 {
        for _ in 0..20 {
            let payload = vec![1; 50_000].into();
            bus.publish(Message { payload, ..message("") }).await.unwrap();
        }
        let mut left = 20;
        while left > 0 {
            for delivery in bus.fetch(SUBJECT, 20).await.unwrap() {
                delivery.ack().await.unwrap();
                left -= 1;
            }
        }
        sizes.push(fs::metadata(folder.path().join("queue.db")).unwrap().len());
    }
    assert!(sizes[4] <= sizes[2] * 2, "{sizes:?}");
}

#[tokio::test]
async fn the_file_is_private_and_its_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("a/b/queue.db");
    let settings = Settings::embedded(&queue);
    let bus = Bus::open(&settings, Access::Consume).await.unwrap();
    bus.ensure_subjects(&BTreeSet::from([SUBJECT.to_owned()])).await.unwrap();
    for entry in fs::read_dir(queue.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
}

#[tokio::test]
async fn a_file_that_is_no_queue_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue.db");
    fs::write(&queue, "this is a text, and long enough not to look like an empty database file").unwrap();
    let error = Bus::open(&Settings::embedded(&queue), Access::Consume).await.unwrap_err();
    assert!(error.to_string().contains("DISPATCHER_QUEUE") && !error.try_again(), "{error}");
}

#[tokio::test]
async fn ids_are_forgotten_after_the_window() {
    let test_bus = TestBus::embedded();
    let settings = Settings { duplicate_window: Duration::from_millis(500), ..test_bus.settings() };
    let bus = Bus::open(&settings, Access::Consume).await.unwrap();
    bus.ensure_subjects(&BTreeSet::from([SUBJECT.to_owned()])).await.unwrap();
    let same = || Message { id: Some("same".to_owned()), ..message("one") };
    bus.publish(same()).await.unwrap();
    assert!(bus.publish(same()).await.unwrap().duplicate);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!bus.publish(same()).await.unwrap().duplicate);
}
