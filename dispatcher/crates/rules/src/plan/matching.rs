//! Which EventSources an event matches, and which triggers follow from them.

use std::collections::BTreeSet;

use crate::manifest::{Criterion, EventSource, EventTrigger, LeftOut, Manifests, Pattern};

use super::{Cluster, IncomingEvent};

/// The triggers that fire, without repeats, in the order of the manifests.
pub(super) fn triggers<'a>(
    event: &IncomingEvent,
    manifests: &'a Manifests,
    cluster: &Cluster,
) -> impl Iterator<Item = &'a EventTrigger> {
    let sources: BTreeSet<&str> = manifests
        .sources
        .iter()
        .filter(|source| source.matches(event))
        .map(|source| source.name.as_str())
        .collect();
    manifests.triggers.iter().filter(move |trigger| {
        trigger.selector.matches(&cluster.labels)
            && cluster.source_name(trigger).is_ok_and(|name| sources.contains(name.as_str()))
    })
}

impl EventSource {
    /// Whether one criterion matches.
    pub fn matches(&self, event: &IncomingEvent) -> bool {
        self.criteria.iter().any(|criterion| criterion.mismatches(event).next().is_none())
    }
}

impl LeftOut {
    /// Whether the event would be for this object, as far as that is known.
    pub fn takes(&self, event: &IncomingEvent, cluster: &Cluster) -> bool {
        self.selector.as_ref().is_none_or(|selector| selector.matches(&cluster.labels))
            && self.sources.iter().any(|source| source.matches(event))
    }
}

impl Criterion {
    /// The fields that do not match: name, pattern and the event's value.
    pub(super) fn mismatches<'a>(
        &'a self,
        event: &'a IncomingEvent,
    ) -> impl Iterator<Item = (&'static str, &'a Pattern, &'a str)> {
        [
            ("subject", &self.subject, event.nats_subject.as_str()),
            ("cloudEventSource", &self.source, event.source()),
            ("cloudEventType", &self.event_type, event.event_type()),
            ("cloudEventSubject", &self.event_subject, event.subject()),
        ]
        .into_iter()
        .filter(|(_, pattern, value)| !pattern.matches(value))
    }
}
