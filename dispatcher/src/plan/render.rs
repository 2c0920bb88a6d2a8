//! A trigger's policyRefs → the objects they render.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::manifest::{ConfigMap, Entry, EventTrigger, Manifests, Place, PolicyRef};
use crate::template::{Context, Document, Names, parse_documents};

use super::{Cluster, IncomingEvent, PlanError, Stage, dollar};

/// An object as rendered, and where it came from.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) document: Document,
    /// `ConfigMap default/a-job, job.yaml`.
    pub(super) place: String,
    /// Where its text stands.
    pub(super) at: Place,
}

/// Renders every key of every text that the trigger refers to, in order.
pub(super) fn documents(
    trigger: &EventTrigger,
    event: &IncomingEvent,
    context: &Context<'_>,
    manifests: &Manifests,
    cluster: &Cluster,
) -> Result<Vec<Rendered>, PlanError> {
    let mut documents = Vec::new();
    for (index, reference) in trigger.policy_refs.iter().enumerate() {
        let place = format!("EventTrigger {}, spec.policyRefs[{index}]", trigger.name);
        let Some(map) = find(reference, context, manifests, cluster)
            .map_err(|error| error.in_place(place, &reference.place))?
        else {
            continue;
        };
        for entry in &map.entries {
            let place = format!("{} {}/{}, {}", map.kind, map.namespace, map.name, entry.key);
            let values = render(map, entry, event, context)
                .map_err(|error| error.in_place(place.clone(), &entry.place.first))?;
            documents.extend(values.into_iter().map(|document| Rendered {
                document,
                place: place.clone(),
                at: entry.place.first.clone(),
            }));
        }
    }
    Ok(documents)
}

fn find<'a>(
    reference: &PolicyRef,
    context: &Context<'_>,
    manifests: &'a Manifests,
    cluster: &Cluster,
) -> Result<Option<&'a ConfigMap>, PlanError> {
    let fail = |error| PlanError::template(Stage::Reference, &error);
    let name = reference.name.render(context.clone()).map_err(fail)?;
    let namespace = reference.namespace.render(context.clone()).map_err(fail)?;
    let namespace = if namespace.is_empty() { &cluster.namespace } else { &namespace };
    let found = manifests.config_map(reference.kind, namespace, &name);
    if found.is_none() && !reference.optional {
        // A rendered name is event data: the template that made it is shown instead.
        let message = match (reference.name.literal(), reference.namespace.literal()) {
            (Some(name), Some(_)) => format!("there is no {} {namespace}/{name}", reference.kind),
            _ => format!("there is no {} of the name that {} gives", reference.kind, reference.name.source()),
        };
        return Err(PlanError::new(Stage::Missing, message));
    }
    Ok(found)
}

fn render(
    map: &ConfigMap,
    entry: &Entry,
    event: &IncomingEvent,
    context: &Context<'_>,
) -> Result<Vec<Document>, PlanError> {
    let context = context.clone();
    let as_it_stands = |values: Vec<Value>| {
        values
            .into_iter()
            .map(|value| Document { value, bare: BTreeSet::new(), names: Names::default() })
            .collect::<Vec<_>>()
    };
    let bad_yaml = |error| PlanError::new(Stage::Render, format!("{error}"));
    let Some(template) = &entry.template else {
        return parse_documents(&entry.text).map(as_it_stands).map_err(bad_yaml);
    };
    let bad_template = |error| PlanError::template(Stage::Render, &error);
    if map.printed_yaml {
        return template.render_documents_trusting(context).map(as_it_stands).map_err(bad_template);
    }
    let mut documents = template.render(context).map_err(bad_template)?;
    for document in &mut documents {
        dollar::protect(&mut document.value, &entry.text, event.view())?;
    }
    Ok(documents)
}
