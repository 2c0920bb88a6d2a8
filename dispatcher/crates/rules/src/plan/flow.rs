//! The flow that a set of manifests forms: which event starts which trigger, and which events its Job announces.
//!
//! A ConfigMap says which events its images announce (annotation `knapscen.disco/emits`: NATS subjects, each alone or
//! as `subject=type`). In addition, the caller may know an image ([`Announces`]).

use std::collections::BTreeSet;

use crate::manifest::{
    ConfigMap, Criterion, EventTrigger, Manifests, Pattern, PolicyRef, SyncMode, TemplatedText,
};
use crate::plan::{Cluster, EnvValue, PlannedJob};
use job::short;

/// Steps in the order of the manifests, and which step starts which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// One for each trigger that can fire on this cluster.
    pub steps: Vec<Step>,
    /// Pairs of a step and a step that its event starts, as positions in `steps`; sorted.
    pub links: Vec<(usize, usize)>,
}

/// A trigger as a part of the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The EventTrigger's name.
    pub trigger: String,
    /// The NATS subjects that start it; patterns, if they are not plain names.
    pub subjects: Vec<String>,
    /// The last names of its images, without registry and tag.
    pub images: Vec<String>,
    /// The subjects of the events that it publishes.
    pub emits: Vec<String>,
    /// The subjects of events that start nothing: the flow ends there.
    pub ends: Vec<String>,
}

impl Step {
    /// The name of the step for operators: the image of its Job, otherwise the trigger.
    pub fn name(&self) -> &str {
        self.images.first().map_or_else(|| self.trigger.trim_end_matches("-trigger"), String::as_str)
    }
}

impl Flow {
    /// Reads the flow out of the manifests.
    pub fn of(set: &Manifests, cluster: &Cluster, known: Announces) -> Self {
        let triggers: Vec<_> =
            set.triggers.iter().filter(|trigger| trigger.selector.matches(&cluster.labels)).collect();
        let mut flow = Self::default();
        for (at, trigger) in triggers.iter().enumerate() {
            let emissions = emissions(set, cluster, trigger, [], known);
            let started = |emission: &Emission| -> Vec<usize> {
                let others = triggers.iter().enumerate();
                others
                    .filter(|(_, other)| starts(set, cluster, other, emission))
                    .map(|(index, _)| index)
                    .collect()
            };
            let unique = |emissions: &mut dyn Iterator<Item = &Emission>| -> Vec<String> {
                emissions.map(|one| one.subject.clone()).collect::<BTreeSet<_>>().into_iter().collect()
            };
            let ends = unique(&mut emissions.iter().filter(|emission| started(emission).is_empty()));
            flow.steps.push(Step {
                trigger: trigger.name.clone(),
                subjects: subjects(set, cluster, trigger),
                images: maps(set, cluster, trigger)
                    .flat_map(images)
                    .map(|image| short(&image).to_owned())
                    .collect(),
                ends,
                emits: unique(&mut emissions.iter()),
            });
            flow.links.extend(emissions.iter().flat_map(started).map(|to| (at, to)));
        }
        flow.links.sort_unstable();
        flow.links.dedup();
        flow
    }

    /// The steps in the order of events: each after the steps that start it.
    pub fn in_order(&self) -> impl Iterator<Item = &Step> {
        let mut layers = vec![0; self.steps.len()];
        for _ in 0..self.steps.len() {
            for (from, to) in &self.links {
                layers[*to] = layers[*to].max((layers[*from] + 1).min(self.steps.len()));
            }
        }
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|at| layers[*at]);
        order.into_iter().filter_map(|at| self.steps.get(at))
    }
}

/// The events that the Jobs of a text announce: those of its annotation, and those known from its images.
pub fn announced(map: &ConfigMap, known: Announces) -> Vec<Emission> {
    let mut all: Vec<_> = map.emits.iter().map(|text| annotated(text)).collect();
    for event in images(map).filter_map(|image| known(&image)) {
        add(&mut all, event);
    }
    all
}

/// Adds the events that are not in the list yet.
fn add(all: &mut Vec<Emission>, event: Emission) {
    let says = |one: &Emission| {
        one.subject == event.subject && (one.event_type.is_none() || one.event_type == event.event_type)
    };
    if !all.iter().any(says) {
        all.push(event);
    }
}

/// The event that an image announces when it is done, known only from the name of the image.
pub type Announces = fn(&str) -> Option<Emission>;

/// An event that a Job may publish. A field that is `None` is unknown and can have any value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emission {
    /// The NATS subject.
    pub subject: String,
    /// The CloudEvent's `type`.
    pub event_type: Option<String>,
    /// The CloudEvent's `source`.
    pub source: Option<&'static str>,
}

/// Whether the event may start the trigger. An unknown field can have any value.
pub fn starts(set: &Manifests, cluster: &Cluster, trigger: &EventTrigger, event: &Emission) -> bool {
    let fits = |pattern: &Pattern, value: Option<&str>| value.is_none_or(|value| pattern.matches(value));
    let may_match = |criterion: &Criterion| {
        criterion.subject.matches(&event.subject)
            && fits(&criterion.event_type, event.event_type.as_deref())
            && fits(&criterion.source, event.source)
    };
    trigger.selector.matches(&cluster.labels) && criteria(set, cluster, trigger).any(may_match)
}

/// The events that a trigger's Jobs may publish, without repeats: those of its templates, and those that samples have
/// rendered. Empty if the trigger never makes a Job.
pub fn emissions<'a>(
    set: &Manifests,
    cluster: &Cluster,
    trigger: &EventTrigger,
    rendered: impl IntoIterator<Item = &'a PlannedJob>,
    known: Announces,
) -> Vec<Emission> {
    if trigger.sync == SyncMode::DryRun || matches!(trigger.action.literal(), Some("Delete" | "")) {
        return Vec::new();
    }
    let mut all: Vec<Emission> = Vec::new();
    for event in maps(set, cluster, trigger).flat_map(|map| announced(map, known)) {
        add(&mut all, event);
    }
    for job in rendered {
        let emission = known(&job.spec.image);
        match redirected(job) {
            Some(subject) => add(&mut all, Emission { subject, ..emission.unwrap_or_else(unknown) }),
            None => emission.into_iter().for_each(|event| add(&mut all, event)),
        }
    }
    all
}

const fn unknown() -> Emission {
    Emission { subject: String::new(), event_type: None, source: None }
}

/// One word of the annotation: `subject` or `subject=type`.
fn annotated(text: &str) -> Emission {
    let (subject, event_type) = match text.split_once('=') {
        Some((subject, event_type)) => (subject, Some(event_type.to_owned())),
        None => (text, None),
    };
    Emission { subject: subject.to_owned(), event_type, source: None }
}

/// The texts that a trigger refers to, and those that a templated name may mean.
pub(crate) fn maps<'a>(
    set: &'a Manifests,
    cluster: &'a Cluster,
    trigger: &'a EventTrigger,
) -> impl Iterator<Item = &'a ConfigMap> {
    let known = trigger.policy_refs.iter().filter(|reference| !may_be_any(reference));
    known.flat_map(|reference| {
        let is_meant = |map: &&ConfigMap| {
            let namespace = if reference.namespace.source().is_empty() {
                map.namespace == cluster.namespace
            } else {
                may_be(&reference.namespace, &map.namespace)
            };
            reference.kind == map.kind && namespace && may_be(&reference.name, &map.name)
        };
        set.config_maps.iter().filter(is_meant)
    })
}

/// Whether nothing is known about the name: it is a template without a fixed beginning or end.
pub fn may_be_any(reference: &PolicyRef) -> bool {
    reference.name.literal().is_none() && fixed(&reference.name) == ("", "")
}

/// Whether a name may be rendered as this one: it is equal, or its fixed parts fit.
fn may_be(name: &TemplatedText, found: &str) -> bool {
    if let Some(name) = name.literal() {
        return name == found;
    }
    let (before, after) = fixed(name);
    found.len() >= before.len() + after.len() && found.starts_with(before) && found.ends_with(after)
}

/// The text before a template's first action, and the text after its last.
fn fixed(name: &TemplatedText) -> (&str, &str) {
    let source = name.source();
    let before = source.split("{{").next().unwrap_or_default();
    let after = source.rsplit("}}").next().unwrap_or_default();
    (before.trim(), after.trim())
}

fn criteria<'a>(
    set: &'a Manifests,
    cluster: &Cluster,
    trigger: &EventTrigger,
) -> impl Iterator<Item = &'a Criterion> {
    let name = cluster.source_name(trigger).ok();
    let named = set.sources.iter().filter(move |source| Some(&source.name) == name.as_ref());
    named.flat_map(|source| &source.criteria)
}

fn subjects(set: &Manifests, cluster: &Cluster, trigger: &EventTrigger) -> Vec<String> {
    let texts = criteria(set, cluster, trigger)
        .map(|one| one.subject.literal().unwrap_or_else(|| one.subject.to_string()));
    let mut all: Vec<_> = texts.collect();
    all.sort();
    all.dedup();
    all
}

/// Images as written in the template's text: known even if no sample renders it.
fn images(map: &ConfigMap) -> impl Iterator<Item = String> + '_ {
    map.entries.iter().flat_map(|entry| entry.text.split("image:").skip(1)).filter_map(|rest| {
        let word = rest.split(['\n', '#', ',', '}']).next()?.trim().trim_matches(['"', '\'']);
        (!word.is_empty()).then(|| word.to_owned())
    })
}

/// `NATS_SUBJECT` changes the subject on which a worker publishes.
fn redirected(job: &PlannedJob) -> Option<String> {
    job.spec.env.iter().find(|variable| variable.name == "NATS_SUBJECT").and_then(|variable| match &variable
        .value
    {
        EnvValue::Literal(subject) if !subject.is_empty() => Some(subject.clone()),
        _ => None,
    })
}
