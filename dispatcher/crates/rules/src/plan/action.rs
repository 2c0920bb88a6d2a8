//! The action of a trigger: a template that renders `Create`, `Delete` or nothing.

use crate::manifest::EventTrigger;
use gotemplate::Context;

use super::{PlanError, Stage};

/// The rendered action.
pub(super) enum Verb {
    Create,
    Delete,
    Skip,
}

/// Renders the action. Any other result than exactly these two words or nothing is an error of this event.
pub(super) fn render(trigger: &EventTrigger, context: &Context<'_>) -> Result<Verb, PlanError> {
    let origin = format!("EventTrigger {}", trigger.name);
    let rendered = trigger.action.render(context.clone()).map_err(|error| {
        PlanError::template(Stage::Action, &error)
            .with_origin(&origin, &trigger.position)
            .at_field("spec.cloudEventAction")
    })?;
    match rendered.as_str() {
        "Create" => Ok(Verb::Create),
        "Delete" => Ok(Verb::Delete),
        "" => Ok(Verb::Skip),
        other => {
            let near = matches!(other.trim().to_ascii_lowercase().as_str(), "create" | "delete");
            let hint = if near { ": letter case and white space count" } else { "" };
            let message = format!("rendered neither Create nor Delete{hint}");
            Err(PlanError::new(Stage::Action, message)
                .with_origin(origin, &trigger.position)
                .at_field("spec.cloudEventAction"))
        }
    }
}
