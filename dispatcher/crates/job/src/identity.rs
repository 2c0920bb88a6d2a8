//! The identity of a Job: what it is about, and the event that started it.

use crate::digest;

/// Identifies what a trigger makes of an event.
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
    /// The hash of the identity: equal for all events with one trigger, source and subject. 32 hex digits, fit for a
    /// label.
    pub fn hash(&self) -> String {
        digest([self.trigger.as_bytes(), self.source.as_bytes(), self.subject.as_bytes()])
    }

    /// The hash of the event: equal for all deliveries with one source and id, and different for a replay. 32 hex
    /// digits.
    pub fn event_hash(&self) -> String {
        digest([self.source.as_bytes(), self.event_id.as_bytes(), self.replay.to_string().as_bytes()])
    }
}
