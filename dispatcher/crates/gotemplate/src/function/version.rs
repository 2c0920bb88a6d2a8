//! Sprig's semantic versions.

use std::sync::Arc;

use semver::{Version, VersionReq};

use super::{Call, Fault, Function, Value};

pub(super) static FUNCTIONS: &[Function] =
    &[Function::new("semver", 1, 1, semver), Function::new("semverCompare", 2, 2, compare)];

/// Reads a version as leniently as Go's library: a leading `v` is allowed, and minor or patch may be missing.
fn version(text: &str) -> Result<Version, Fault> {
    let bare = text.strip_prefix('v').unwrap_or(text);
    let core = bare.find(['-', '+']).unwrap_or(bare.len());
    let missing = 2usize.saturating_sub(bare[..core].matches('.').count());
    let full = format!("{}{}{}", &bare[..core], ".0".repeat(missing), &bare[core..]);
    Version::parse(&full).map_err(|_| Fault::new("invalid semantic version"))
}

fn semver(call: &mut Call<'_>) -> Result<Value, Fault> {
    let text = call.str(0)?;
    let version = version(text)?;
    let number = |part: u64| Value::Int(i64::try_from(part).unwrap_or(i64::MAX));
    let entries = [
        ("Major", number(version.major)),
        ("Minor", number(version.minor)),
        ("Patch", number(version.patch)),
        ("Prerelease", Value::text(version.pre.as_str())),
        ("Metadata", Value::text(version.build.as_str())),
        ("Original", Value::text(text)),
    ];
    Ok(Value::map(entries.into_iter().map(|(key, value)| (Arc::from(key), value)).collect()))
}

/// `semverCompare ">=1.2, <2 || ^3" version`.
fn compare(call: &mut Call<'_>) -> Result<Value, Fault> {
    let (constraint, version) = (call.str(0)?, version(call.str(1)?)?);
    for alternative in constraint.split("||") {
        if all_hold(alternative, &version)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// Terms are separated by commas or spaces. A bare version means exactly that version, `!=` any other.
fn all_hold(constraint: &str, version: &Version) -> Result<bool, Fault> {
    const INVALID: &str = "invalid version constraint";
    if constraint.contains(" - ") {
        let (low, high) = constraint.split_once(" - ").unwrap_or_default();
        return Ok(all_hold(&format!(">={}", low.trim()), version)?
            && all_hold(&format!("<={}", high.trim()), version)?);
    }
    let mut compact = constraint.replace(',', " ");
    for operator in [">=", "<=", "!=", "=", ">", "<", "^", "~"] {
        compact = compact.replace(&format!("{operator} "), operator);
    }
    let mut terms = compact.split_whitespace().peekable();
    if terms.peek().is_none() {
        return Err(Fault::new(INVALID));
    }
    for term in terms {
        let (negated, term) = match term.strip_prefix("!=") {
            Some(term) => (true, format!("={term}")),
            None if term.starts_with(|first: char| first.is_ascii_digit() || first == 'v') => {
                (false, format!("={term}"))
            }
            None => (false, term.to_owned()),
        };
        let term = term.replacen('v', "", 1).replace(['x', 'X'], "*");
        let required = VersionReq::parse(&term).map_err(|_| Fault::new(INVALID))?;
        if required.matches(version) == negated {
            return Ok(false);
        }
    }
    Ok(true)
}
