//! The time of a Kubernetes Event, which is in one of four fields.

use k8s_openapi::jiff::Timestamp;

use super::observed::Event;

/// When the Event last occurred. Writers that use the newer API, such as the scheduler, leave `lastTimestamp` empty.
pub(super) fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    last.or_else(|| series.map(|time| time.0))
        .or_else(|| event.time.as_ref().map(|time| time.0))
        .or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_time_is_found_wherever_it_stands() {
        let at = |times: &Value| {
            let mut event = json!({"metadata": {}, "involvedObject": {}});
            event.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
            last_seen(&serde_json::from_value(event).unwrap()).map(|time| time.to_string())
        };
        let second = |second: u32| format!("2026-01-01T00:00:0{second}Z");
        let micro = |second: u32| format!("2026-01-01T00:00:0{second}.000000Z");
        let made = json!({"creationTimestamp": second(1)});
        let series = json!({"count": 2, "lastObservedTime": micro(3)});
        for (times, expected) in [
            (json!({"metadata": made}), Some(1)),
            (json!({"metadata": made, "eventTime": micro(2), "lastTimestamp": null}), Some(2)),
            (json!({"metadata": made, "eventTime": micro(2), "series": series}), Some(3)),
            (json!({"metadata": made, "series": series, "lastTimestamp": second(4)}), Some(4)),
            (json!({}), None),
        ] {
            assert_eq!(at(&times), expected.map(second), "{times}");
        }
    }

    #[test]
    fn an_event_that_lacks_fields_hides_no_other() {
        let events: Vec<Event> =
            serde_json::from_value(json!([{"reason": "Failed"}, {"metadata": {}}])).unwrap();
        assert_eq!(events[0].reason.as_deref(), Some("Failed"));
        assert_eq!(events.iter().map(last_seen).collect::<Vec<_>>(), [None, None]);
    }
}
