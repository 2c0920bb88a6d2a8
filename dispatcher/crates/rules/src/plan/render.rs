//! Renders the policyRefs of a trigger into objects.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::manifest::{ConfigMap, Entry, EventTrigger, Manifests, PolicyRef, Position};
use gotemplate::{Context, Document, Names};
use kyaml::parse_documents;

use super::{Cluster, IncomingEvent, PlanError, Stage, expansion_guard, policy};

/// A rendered object and its origin.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) document: Document,
    /// `ConfigMap default/a-job, job.yaml`.
    pub(super) origin: String,
    /// The position of its text.
    pub(super) at: Position,
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
        let origin = format!("EventTrigger {}, spec.policyRefs[{index}]", trigger.name);
        let Some(map) = find(reference, context, manifests, cluster)
            .map_err(|error| error.with_origin(origin, &reference.position))?
        else {
            continue;
        };
        for entry in &map.entries {
            let origin = format!("{} {}/{}, {}", map.kind, map.namespace, map.name, entry.key);
            let values = render(map, entry, event, context)
                .map_err(|error| error.with_origin(origin.clone(), &entry.position.first))?;
            documents.extend(values.into_iter().map(|document| Rendered {
                document,
                origin: origin.clone(),
                at: entry.position.first.clone(),
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
        // A rendered name is event data, so errors show the template of the name instead.
        let message = match (reference.name.literal(), reference.namespace.literal()) {
            (Some(name), Some("")) => format!(
                "without a namespace it is that of the cluster, {namespace}, and there is no {} {namespace}/{name}",
                reference.kind
            ),
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
    let as_it_stands = |values: Vec<Value>, filled: &BTreeSet<String>| {
        let document = |value| Document {
            value,
            bare: BTreeSet::new(),
            filled: filled.clone(),
            names: Names::default(),
            // With printed YAML, it is not known where the event's data ends up, so assume that the Jobs differ.
            is_nondeterministic: !filled.is_empty(),
        };
        values.into_iter().map(document).collect::<Vec<_>>()
    };
    let bad_yaml = |error| PlanError::new(Stage::Render, format!("{error}"));
    let Some(template) = &entry.template else {
        let nothing = BTreeSet::new();
        return parse_documents(&entry.text).map(|values| as_it_stands(values, &nothing)).map_err(bad_yaml);
    };
    let bad_template = |error| PlanError::template(Stage::Render, &error);
    if map.printed_yaml {
        // Any part may come from the event.
        let all = BTreeSet::from([String::new()]);
        let values = template.render_documents_trusting(context).map_err(bad_template)?;
        return Ok(as_it_stands(values, &all));
    }
    let mut documents = template.render(context).map_err(bad_template)?;
    for document in &mut documents {
        policy::check_source(&document.value, &entry.text)?;
        expansion_guard::protect(&mut document.value, &entry.text, event.view())?;
    }
    Ok(documents)
}
