use std::collections::BTreeMap;

use super::*;

/// The lists as Markdown, as the document shows them.
fn markdown() -> String {
    let quoted = |fields: &[&str]| {
        let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
        fields.join(", ")
    };
    let mut lines = vec!["| below `spec` of the Pod | fields |".to_owned(), "|---|---|".to_owned()];
    lines.extend(by_parent().into_iter().map(|(parent, mut fields)| {
        fields.sort();
        let parent = if parent.is_empty() { "`spec` itself".to_owned() } else { format!("`{parent}`") };
        format!("| {parent} | {} |", fields.join(", "))
    }));
    lines.push(format!("| `containers`, below each of {} | {} |", quoted(HANDLERS), quoted(HANDLED)));
    let opened = [
        ("`--allow-privileged` (`ALLOW_PRIVILEGED`)", PRIVILEGED),
        ("`--allow-host` (`ALLOW_HOST`)", HOST),
        ("`--allow-service-account-token` (`ALLOW_SERVICE_ACCOUNT_TOKEN`)", TOKEN),
    ];
    lines.extend(["", "| only with | fields |", "|---|---|"].map(str::to_owned));
    lines.extend(opened.map(|(flag, fields)| format!("| {flag} | {} |", quoted(fields))));
    lines.extend(["", "| never filled from an event |", "|---|"].map(str::to_owned));
    let dotted = |field: &&str| format!("| `{}` |", field.trim_start_matches('/').replace('/', "."));
    lines.extend(NEVER_OF_EVENTS.iter().map(dotted));
    let below_pod =
        |field: &&str| format!("| `spec.template.spec.{}` |", field.replace("/*", "").replace('/', "."));
    lines.extend(SECRET_NAMES.iter().map(below_pod));
    lines.join("\n") + "\n"
}

/// What may be set without an option, by the field above it.
fn by_parent() -> BTreeMap<String, Vec<String>> {
    let plain = ALLOWED.iter().map(|field| (*field, String::new()));
    let valued = VALUES.iter().map(|(field, values)| (*field, format!(" ({})", values.join(" or "))));
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (field, values) in plain.chain(valued) {
        let (name, stars) = field.strip_suffix(".*").map_or((field, ""), |name| (name, ".*"));
        let (parent, last) = name.rsplit_once('.').unwrap_or(("", name));
        all.entry(parent.to_owned()).or_default().push(format!("`{last}{stars}`{values}"));
    }
    all
}

#[test]
fn the_document_shows_the_lists_as_they_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pod-fields.md");
    let document = std::fs::read_to_string(path).unwrap();
    let shown = document.split_once("<!-- fields -->\n").map(|(_, lists)| lists);
    let wanted = markdown();
    assert!(shown == Some(wanted.as_str()), "put this at the end of {path}:\n\n{wanted}");
}

#[test]
fn a_field_of_a_pod_is_told_from_another_word() {
    for name in [
        "nodeName",
        "hostNetwork",
        "containers",
        "volumes.nfs",
        "volumes.csi.driver",
        "containers.livenessProbe.httpGet.host",
        "containers.securityContext.privileged",
        "volumes.projected.sources.serviceAccountToken",
        "nodeSelector.disk",
    ] {
        assert!(is_pod_field(name), "{name}");
    }
    let deep = "volumes.".repeat(1_000);
    for name in ["foo", "other", "nodename", "volumes.foo", "nodeName.x", "", ".", "volumes.", &deep] {
        assert!(!is_pod_field(name), "{name}");
    }
}
