//! A panic of ours only affects its event.

use super::*;

#[tokio::test]
async fn a_panic_in_one_event_is_its_dead_letter_and_the_next_one_runs() {
    let ground = Ground::start([], 1).await;
    ground.backend.panic_next();
    ground.publish("customer-saved", event("e1")).await;
    ground.until(|left| left.iter().all(|one| one.waiting + one.in_flight == 0)).await;
    ground.publish("customer-saved", event("e2")).await;
    let (backend, metrics, letters) = ground.settled().await;
    assert_eq!(backend.started().len(), 2);
    assert_eq!(metrics.jobs_ended(TRIGGER, JobOutcome::Complete), 1);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].info.event_id, "e1");
    assert!(letters[0].info.failure.message.contains("the dispatcher failed"), "{letters:?}");
}
