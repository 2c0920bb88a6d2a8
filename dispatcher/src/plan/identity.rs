//! Who a Job is: the thing it is about, and the event that started it.

use crate::manifest::EventTrigger;

use super::IncomingEvent;
use crate::digest::digest;

/// The identity of what a trigger makes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The EventTrigger's name.
    pub trigger: String,
    /// The CloudEvent's `source`.
    pub source: String,
    /// The CloudEvent's `subject`, empty if it has none.
    pub subject: String,
    /// The CloudEvent's `id`.
    pub event_id: String,
    /// How often the event was replayed.
    pub replay: u32,
}

impl Identity {
    pub(super) fn new(trigger: &EventTrigger, event: &IncomingEvent) -> Self {
        Self {
            trigger: trigger.name.clone(),
            source: event.source().to_owned(),
            subject: event.subject().to_owned(),
            event_id: event.id().to_owned(),
            replay: event.replay,
        }
    }

    /// The thing: equal for all events of one trigger, source and subject. 32 hex digits, fit for a label.
    pub fn hash(&self) -> String {
        digest([self.trigger.as_bytes(), self.source.as_bytes(), self.subject.as_bytes()])
    }

    /// The event: equal for all deliveries of one source and id, and another one for a replay. 32 hex digits.
    pub fn event_hash(&self) -> String {
        digest([self.source.as_bytes(), self.event_id.as_bytes(), self.replay.to_string().as_bytes()])
    }
}
