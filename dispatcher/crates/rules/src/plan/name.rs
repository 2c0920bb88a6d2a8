//! Makes names that Kubernetes accepts from any event data.

use serde_json::Value;

use super::render::Rendered;
use super::{PlanError, Stage};
use job::digest;

/// The longest name of a Job whose Pods can carry it as a label.
const MAX: usize = 63;
/// Enough of a hash to tell apart names that become equal when they are made valid.
const HASH: usize = 10;

/// Name and namespace as rendered.
pub(super) struct Requested {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Reads name and namespace; the default namespace is `default`. A whole number, which YAML reads from an unquoted
/// name of digits, is used as its digits.
pub(super) fn read(value: &Value) -> Result<Requested, PlanError> {
    let metadata = &value["metadata"];
    let text = |field: &str| match &metadata[field] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
        _ => Err(PlanError::new(Stage::Check, "is not a string: quote the value")
            .at_field(format!("metadata.{field}"))),
    };
    let name = text("name")?;
    if name.is_empty() {
        let generated = metadata.get("generateName").is_some();
        let message = if generated {
            "is not set: with generateName a redelivered event would start a second Job"
        } else {
            "is not set"
        };
        return Err(PlanError::new(Stage::Check, message).at_field("metadata.name"));
    }
    let namespace =
        Some(text("namespace")?).filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into());
    Ok(Requested { namespace, name })
}

/// Refuses a name that depends on randomness or the clock: a redelivered event finds its earlier Job by the name.
pub(super) fn check_again(first: &[Rendered], again: &[Rendered]) -> Result<(), PlanError> {
    let name = |one: &Rendered| {
        let metadata = &one.document.value["metadata"];
        (metadata["namespace"].clone(), metadata["name"].clone())
    };
    let other = first.iter().enumerate().find(|(at, one)| again.get(*at).map(name) != Some(name(one)));
    let Some((_, other)) = other else { return Ok(()) };
    let message = "is another one at each rendering (now, uuidv4, rand...): a redelivered event would start a second Job; make it of the event, such as its subject or id";
    Err(PlanError::new(Stage::Check, message).at_field("metadata.name").with_origin(&other.origin, &other.at))
}

/// The template itself contains the invalid name, so only its author can correct it.
pub(super) fn literal(name: &str) -> Result<String, PlanError> {
    if is_dns_name(name) {
        return Ok(name.to_owned());
    }
    let message = "must be at most 63 lower case letters, digits, hyphens and dots, and begin and end with a letter or digit";
    Err(PlanError::new(Stage::Check, message).at_field("metadata.name"))
}

/// The name itself if Kubernetes accepts it; otherwise a valid one with a hash of the original, so that only equal
/// names become equal.
pub(super) fn fit(name: &str) -> String {
    if is_dns_name(name) {
        return name.to_owned();
    }
    let lower: String = name.chars().flat_map(char::to_lowercase).take(MAX).collect();
    sanitised(&lower, name, |c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// The label value itself if Kubernetes accepts it; otherwise a valid one with a hash of the original.
pub(super) fn fit_label(value: &str) -> String {
    if is_label_value(value) {
        return value.to_owned();
    }
    sanitised(value, value, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

fn sanitised(text: &str, original: &str, keep: impl Fn(char) -> bool) -> String {
    let mut clean = String::new();
    for c in text.chars() {
        if clean.len() >= MAX - HASH - 1 {
            break;
        }
        if keep(c) {
            clean.push(c);
        } else if !clean.is_empty() && !clean.ends_with('-') {
            clean.push('-');
        }
    }
    let clean = clean.trim_matches(['-', '_', '.']);
    let hash = &digest([original.as_bytes()])[..HASH];
    if clean.is_empty() { format!("x-{hash}") } else { format!("{clean}-{hash}") }
}

/// A DNS-1123 subdomain that is short enough.
pub(super) fn is_dns_name(name: &str) -> bool {
    name.len() <= MAX
        && name.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn is_label_value(value: &str) -> bool {
    let edge = |c: Option<u8>| c.is_none_or(|b| b.is_ascii_alphanumeric());
    value.len() <= MAX
        && edge(value.bytes().next())
        && edge(value.bytes().last())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_name_stays_as_it_is() {
        for name in ["item-saved-550e8400-e29b-41d4-a716-446655440000", "a", "a.b-c", "0"] {
            assert_eq!(fit(name), name);
        }
    }

    #[test]
    fn a_hostile_or_long_name_becomes_a_valid_one_and_stays_distinct() {
        let long = "s".repeat(300);
        let names = [
            "job-\"Quote\" & Sons: #1",
            "job-a/b",
            "job-a:b",
            "job-ACME",
            "job-acme ",
            "-x",
            "x-",
            "..",
            "💥",
            "job-\n---\n",
            &long,
            "a..b",
            "job-Ünï",
            "urn:uuid:1234",
            "john.smith@techcorp.com",
        ];
        let fitted: std::collections::BTreeSet<_> = names.iter().map(|name| fit(name)).collect();
        assert_eq!(fitted.len(), names.len());
        for name in &fitted {
            assert!(is_dns_name(name), "{name}");
        }
        assert_eq!(fit(&long), fit(&long));
        assert!(fit("job-\"Quote\" & Sons: #1").starts_with("job-quote-sons-1-"));
    }

    #[test]
    fn label_values_are_made_valid_the_same_way() {
        for value in [
            "https://shop.example.com/orders",
            "/mycontext",
            "TechCorp Solutions",
            "batch-1_",
            &"a".repeat(64),
        ] {
            assert!(!is_label_value(value));
            assert!(is_label_value(&fit_label(value)), "{value}");
        }
        for value in ["", "knapscen.disco", "A_b-c.D"] {
            assert_eq!(fit_label(value), value);
        }
    }
}
