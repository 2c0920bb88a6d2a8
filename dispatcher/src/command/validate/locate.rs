//! Finds the manifest line that caused a planning error.

use crate::manifest::{Entry, Manifests, Position};
use crate::plan::PlanError;

/// The position that caused a planning error; `None` if no manifest did.
pub(super) fn error(set: &Manifests, error: &PlanError) -> Option<Position> {
    let at = error.at.as_ref()?;
    // A line of the rendered text does not correspond to a line of the template.
    let line = error.line.filter(|_| !error.message.starts_with("the rendered text"));
    Some(match (entry(set, at), line) {
        (Some(entry), Some(line)) => entry.position.line(line),
        _ => field(set, at, &error.field),
    })
}

/// The position of a rendered Job's field in its template: the first line with its key, or with the key of its
/// nearest parent in the text.
pub(super) fn field(set: &Manifests, template: &Position, field: &str) -> Position {
    let Some(entry) = entry(set, template) else { return template.clone() };
    let found = field.rsplit('.').find_map(|segment| {
        let key = segment.split('[').next().unwrap_or(segment);
        entry.text.lines().position(|line| {
            let line = line.trim_start().trim_start_matches("- ").trim_start();
            line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
        })
    });
    let line = found.and_then(|line| u32::try_from(line).ok()).unwrap_or(0);
    entry.position.line(line + 1)
}

fn entry<'a>(set: &'a Manifests, template: &Position) -> Option<&'a Entry> {
    set.config_maps.iter().flat_map(|map| &map.entries).find(|entry| entry.position.first == *template)
}
