//! Keeps event data from being expanded. In variables, commands and arguments, Kubernetes replaces `$(NAME)` by the
//! value of that variable, so a company called `$(DB_PASSWORD)` would be registered, and mailed, with the password as
//! its name.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{PlanError, Stage};

#[expect(clippy::unwrap_used, reason = "a constant expression, tried by every test that renders")]
static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)").unwrap());

/// Doubles every `$` of the event in variables, commands and arguments.
///
/// A template that contains `$$` escapes by itself and is left unchanged. References in the template's own text keep
/// their meaning. An event that contains the same name in parentheses is refused, because the two could not be told
/// apart.
pub(super) fn protect(document: &mut Value, template: &str, event: &Value) -> Result<(), PlanError> {
    if template.contains("$$") {
        return Ok(());
    }
    let own: BTreeSet<&str> = REFERENCE
        .captures_iter(template)
        .filter_map(|found| found.get(1))
        .map(|name| name.as_str())
        .collect();
    if let Some(name) = own.iter().find(|name| holds(event, &format!("({name})"))) {
        let message =
            format!("the template refers to the variable $({name}), and the event holds the same text");
        return Err(PlanError::new(Stage::Render, message));
    }
    let Some(pod) = document.pointer_mut("/spec/template/spec") else { return Ok(()) };
    for list in ["initContainers", "containers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for field in ["command", "args"] {
                for text in container.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                    escape(text, &own);
                }
            }
            for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(text) = variable.get_mut("value") {
                    escape(text, &own);
                }
            }
        }
    }
    Ok(())
}

fn escape(value: &mut Value, own: &BTreeSet<&str>) {
    let Some(text) = value.as_str().filter(|text| text.contains("$(") || text.contains("$$")) else { return };
    let mut out = String::with_capacity(text.len() + 8);
    let mut end = 0;
    for found in REFERENCE.captures_iter(text) {
        let (Some(whole), Some(name)) = (found.get(0), found.get(1)) else { continue };
        if own.contains(name.as_str()) {
            out.push_str(&text[end..whole.start()].replace('$', "$$"));
            out.push_str(whole.as_str());
            end = whole.end();
        }
    }
    out.push_str(&text[end..].replace('$', "$$"));
    *value = Value::String(out);
}

/// Whether a string or key anywhere in the event contains `text`.
fn holds(event: &Value, text: &str) -> bool {
    match event {
        Value::String(string) => string.contains(text),
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains(text) || holds(value, text)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::expand;

    fn protected(template: &str, value: &str) -> String {
        let mut job = json!({"spec": {"template": {"spec": {"containers": [{"env": [{"name": "A", "value": value}]}]}}}});
        protect(&mut job, template, &json!({})).unwrap();
        job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap().to_owned()
    }

    #[test]
    fn event_data_is_never_expanded() {
        for name in ["$(DB_PASSWORD)", "A$$AP", "$$(X)", "$", "5$", "$((X))", "$($(X))", "a $(X", "$$$"] {
            assert_eq!(expand(&protected("value: {{ .x }}", name), |_| Some("secret".into())), name);
        }
    }

    #[test]
    fn references_of_the_template_itself_keep_their_meaning() {
        let value = protected("value: \"$(HOST):{{ .x }}\"", "$(HOST):$(DB_PASSWORD)");
        assert_eq!(expand(&value, |_| Some("known".into())), "known:$(DB_PASSWORD)");
        let event = json!({"data": {"name": "$(HOST)"}});
        assert!(protect(&mut json!({}), "value: $(HOST){{ .x }}", &event).is_err());
    }

    #[test]
    fn a_template_that_doubles_dollars_itself_is_left_alone() {
        assert_eq!(protected(r#"{{ .x | replace "$" "$$" }}"#, "$$(X)"), "$$(X)");
    }
}
