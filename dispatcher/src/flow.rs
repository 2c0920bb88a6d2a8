//! The flow that a set of manifests makes: which trigger starts on which event, and which events its Job announces.
//!
//! Of our own images it is known what they announce; of others a ConfigMap says so (annotation `knapscen.disco/emits`: NATS
//! subjects, each alone or as `subject=type`).

use std::collections::BTreeSet;

use shared::event::{Kind, SOURCE};

use crate::manifest::{
    ConfigMap, Criterion, EventTrigger, Manifests, Pattern, PolicyRef, SyncMode, TemplatedText,
};
use crate::plan::{Cluster, EnvValue, PlannedJob};

/// Steps in the order of the manifests, and who starts whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// One for each trigger that can fire on this cluster.
    pub steps: Vec<Step>,
    /// From a step to another that its event starts, as positions in `steps`; sorted.
    pub links: Vec<(usize, usize)>,
}

/// A trigger as a part of the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The EventTrigger's name.
    pub trigger: String,
    /// The NATS subjects that start it; as patterns where they are no plain names.
    pub subjects: Vec<String>,
    /// The last names of its images, without registry and tag.
    pub images: Vec<String>,
    /// The subjects of the events that follow.
    pub emits: Vec<String>,
    /// Those that start nothing: the flow ends there.
    pub ends: Vec<String>,
}

impl Step {
    /// The step's name for people: what its Job runs, or else the trigger.
    pub fn name(&self) -> &str {
        self.images.first().map_or_else(|| self.trigger.trim_end_matches("-trigger"), String::as_str)
    }
}

impl Flow {
    /// Reads the flow out of the manifests.
    pub fn of(set: &Manifests, cluster: &Cluster) -> Self {
        let triggers: Vec<_> =
            set.triggers.iter().filter(|trigger| trigger.selector.matches(&cluster.labels)).collect();
        let mut flow = Self::default();
        for (at, trigger) in triggers.iter().enumerate() {
            let emissions = emissions(set, cluster, trigger, []);
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

    /// The steps as events come to them: a step after those that start it.
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

    /// The triggers whose Jobs end the flow: nothing follows from what they announce.
    pub fn last(&self) -> impl Iterator<Item = &str> {
        let goes_on = |at: usize| self.links.iter().any(|(from, _)| *from == at);
        self.steps
            .iter()
            .enumerate()
            .filter(move |(at, step)| !goes_on(*at) && !step.ends.is_empty())
            .map(|(_, step)| step.trigger.as_str())
    }
}

/// An event that a Job may publish; `None` is not known and may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Emission {
    pub(crate) subject: String,
    pub(crate) event_type: Option<String>,
    pub(crate) source: Option<&'static str>,
}

/// The event that a known image announces when it is done; its name may come from any registry, with any tag.
pub(crate) fn announces(image: &str) -> Option<Kind> {
    match short(image) {
        "register-corporate-customer" => Some(Kind::CustomerSaved),
        "save-customer" => Some(Kind::UserSaved),
        "save-user" => Some(Kind::WelcomeEmailSent),
        "send-welcome-email" => Some(Kind::MarketingNotified),
        "notify-marketing" => Some(Kind::SwagOrdered),
        "order-swag" => Some(Kind::TouchpointsCreated),
        "create-touchpoints" => Some(Kind::CustomerOnboarded),
        _ => None,
    }
}

/// An image's last name, without registry, tag and the project's own prefix.
pub(crate) fn short(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image).split(['@', ':']).next().unwrap_or(image);
    name.strip_prefix("knapscen-").unwrap_or(name)
}

/// Whether the event may start the trigger; what is not known of it may be anything.
pub(crate) fn starts(set: &Manifests, cluster: &Cluster, trigger: &EventTrigger, event: &Emission) -> bool {
    let fits = |pattern: &Pattern, value: Option<&str>| value.is_none_or(|value| pattern.matches(value));
    let may_match = |criterion: &Criterion| {
        criterion.subject.matches(&event.subject)
            && fits(&criterion.event_type, event.event_type.as_deref())
            && fits(&criterion.source, event.source)
    };
    trigger.selector.matches(&cluster.labels) && criteria(set, cluster, trigger).any(may_match)
}

/// The events that a trigger's Jobs may publish, each once: those of its templates, and those that samples have rendered.
/// None if it never makes a Job.
pub(crate) fn emissions<'a>(
    set: &Manifests,
    cluster: &Cluster,
    trigger: &EventTrigger,
    rendered: impl IntoIterator<Item = &'a PlannedJob>,
) -> Vec<Emission> {
    if trigger.sync == SyncMode::DryRun || matches!(trigger.action.literal(), Some("Delete" | "")) {
        return Vec::new();
    }
    let mut all: Vec<Emission> = Vec::new();
    for map in maps(set, cluster, trigger) {
        all.extend(map.emits.iter().map(|text| annotated(text)));
        all.extend(images(map).filter_map(|image| announces(&image)).map(of_kind));
    }
    for job in rendered {
        let kind = announces(&job.spec.image);
        match redirected(job) {
            Some(subject) => all.push(Emission { subject, ..kind.map_or_else(unknown, of_kind) }),
            None => all.extend(kind.map(of_kind)),
        }
    }
    let mut unique: Vec<Emission> = Vec::new();
    for emission in all {
        if !unique.contains(&emission) {
            unique.push(emission);
        }
    }
    unique
}

fn of_kind(kind: Kind) -> Emission {
    Emission {
        subject: kind.subject().to_owned(),
        event_type: Some(kind.ty().to_owned()),
        source: Some(SOURCE),
    }
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

/// The texts that a trigger refers to, and those that it may refer to by a name that is a template.
fn maps<'a>(
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

/// The name is a template without a fixed beginning or end: nothing is known of it.
pub(crate) fn may_be_any(reference: &PolicyRef) -> bool {
    reference.name.literal().is_none() && fixed(&reference.name) == ("", "")
}

/// Whether a name may come out as this one: it is this one, or what is fixed of it fits.
fn may_be(name: &TemplatedText, found: &str) -> bool {
    if let Some(name) = name.literal() {
        return name == found;
    }
    let (before, after) = fixed(name);
    found.len() >= before.len() + after.len() && found.starts_with(before) && found.ends_with(after)
}

/// What stands before a template's first action and after its last.
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

/// Images as the template's text names them: known even if no sample renders it.
fn images(map: &ConfigMap) -> impl Iterator<Item = String> + '_ {
    map.entries.iter().flat_map(|entry| entry.text.split("image:").skip(1)).filter_map(|rest| {
        let word = rest.split(['\n', '#', ',', '}']).next()?.trim().trim_matches(['"', '\'']);
        (!word.is_empty()).then(|| word.to_owned())
    })
}

/// `NATS_SUBJECT` overrides where a worker publishes.
fn redirected(job: &PlannedJob) -> Option<String> {
    job.spec.env.iter().find(|variable| variable.name == "NATS_SUBJECT").and_then(|variable| match &variable
        .value
    {
        EnvValue::Literal(subject) if !subject.is_empty() => Some(subject.clone()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn images_are_known_by_their_last_name_from_any_registry() {
        for image in [
            "knapscen/save-user:latest",
            "save-user",
            "registry.example:5000/team/knapscen-save-user@sha256:00",
        ] {
            assert_eq!(announces(image), Some(Kind::WelcomeEmailSent), "{image}");
        }
        assert_eq!(announces("busybox:1"), None);
    }

    #[test]
    fn the_shipped_flow_is_one_chain_of_seven_steps() {
        let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
        let set = crate::manifest::load(&events).unwrap();
        let flow = Flow::of(&set, &Cluster::default());
        let name = |at: usize| flow.steps[at].name().to_owned();
        let mut links: Vec<_> = flow.links.iter().map(|(from, to)| (name(*from), name(*to))).collect();
        links.sort();
        let expected = [
            ("notify-marketing", "order-swag"),
            ("order-swag", "create-touchpoints"),
            ("register-corporate-customer", "save-customer"),
            ("save-customer", "save-user"),
            ("save-user", "send-welcome-email"),
            ("send-welcome-email", "notify-marketing"),
        ];
        assert_eq!(links, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
        assert_eq!(flow.last().collect::<Vec<_>>(), ["touchpoints-created-trigger"]);
    }
}
