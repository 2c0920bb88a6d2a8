//! The action of a trigger: a template that says `Create`, `Delete` or nothing.

use crate::manifest::EventTrigger;
use crate::template::Context;

use super::{PlanError, Stage};

/// What the template said.
pub(super) enum Verb {
    Create,
    Delete,
    Skip,
}

/// Renders the action. Anything but the two words, to the letter, or nothing is an error of this one event.
pub(super) fn render(trigger: &EventTrigger, context: &Context<'_>) -> Result<Verb, PlanError> {
    let place = format!("EventTrigger {}", trigger.name);
    let rendered = trigger.action.render(context.clone()).map_err(|error| {
        PlanError::template(Stage::Action, &error)
            .in_place(&place, &trigger.place)
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
                .in_place(place, &trigger.place)
                .at_field("spec.cloudEventAction"))
        }
    }
}
