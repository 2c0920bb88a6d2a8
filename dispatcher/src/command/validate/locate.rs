//! From what planning complains about to the line of the manifest that is to blame.

use crate::manifest::{Entry, Manifests, Place};
use crate::plan::PlanError;

/// Where a plan's error comes from; `None` if no manifest is to blame.
pub(super) fn error(set: &Manifests, error: &PlanError) -> Option<Place> {
    let at = error.at.as_ref()?;
    // A line of the rendered text says nothing about the template's lines.
    let line = error.line.filter(|_| !error.message.starts_with("the rendered text"));
    Some(match (entry(set, at), line) {
        (Some(entry), Some(line)) => entry.place.line(line),
        _ => field(set, at, &error.field),
    })
}

/// Where a field of a rendered Job stands in its template: the first line with its key, or with that of its nearest
/// parent that is written there.
pub(super) fn field(set: &Manifests, template: &Place, field: &str) -> Place {
    let Some(entry) = entry(set, template) else { return template.clone() };
    let found = field.rsplit('.').find_map(|segment| {
        let key = segment.split('[').next().unwrap_or(segment);
        entry.text.lines().position(|line| {
            let line = line.trim_start().trim_start_matches("- ").trim_start();
            line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
        })
    });
    let line = found.and_then(|line| u32::try_from(line).ok()).unwrap_or(0);
    entry.place.line(line + 1)
}

fn entry<'a>(set: &'a Manifests, template: &Place) -> Option<&'a Entry> {
    set.config_maps.iter().flat_map(|map| &map.entries).find(|entry| entry.place.first == *template)
}
