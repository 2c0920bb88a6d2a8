//! Variables as a container gets them: `$(NAME)` is expanded as Kubernetes does, and variables that cannot be passed
//! are refused.

use super::{EnvValue, JobSpec, PlanError, Stage};

/// The longest string that the kernel passes to a program (`MAX_ARG_STRLEN`); it counts name, value and end.
pub const LONGEST_VARIABLE: usize = 128 << 10;

/// Expands `$(NAME)` in a variable's value, a command or an argument. A name that `lookup` does not know stays as it
/// is, and `$$` becomes one `$`. These are the rules of the kubelet.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')')) {
            out.push_str(&lookup(name).unwrap_or_else(|| format!("$({name})")));
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out + rest
}

/// Refuses values that no program can be started with.
pub(super) fn check(spec: &JobSpec) -> Result<(), PlanError> {
    let base = "spec.template.spec.containers[0]";
    for (index, variable) in spec.env.iter().enumerate() {
        let field = format!("{base}.env[{index}]");
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) {
            return Err(PlanError::new(Stage::Check, "is not a name of a variable").at_field(field + ".name"));
        }
        if let EnvValue::Literal(text) = &variable.value {
            let what = format!("variable {}", variable.name);
            check_text(&what, text, variable.name.len() + 1)
                .map_err(|error| error.at_field(field + ".value"))?;
        }
    }
    for (list, texts) in [("command", &spec.command), ("args", &spec.args)] {
        for (index, text) in texts.iter().enumerate() {
            check_text("it", text, 0).map_err(|error| error.at_field(format!("{base}.{list}[{index}]")))?;
        }
    }
    Ok(())
}

fn check_text(what: &str, text: &str, name: usize) -> Result<(), PlanError> {
    if text.contains('\0') {
        return Err(PlanError::new(Stage::Check, format!("{what} holds a NUL character")));
    }
    // Without known names, expanding makes no text longer, so most texts need not be expanded to be measured.
    if name + text.len() < LONGEST_VARIABLE {
        return Ok(());
    }
    let bytes = name + expand(text, |_| None).len() + 1;
    if bytes > LONGEST_VARIABLE {
        let message =
            format!("{what} has {bytes} bytes, no program can be given more than {LONGEST_VARIABLE}");
        return Err(PlanError::new(Stage::Check, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_as_the_kubelet_does() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, expanded) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("$A", "$A"),
            ("a$", "a$"),
            ("$()", "$()"),
            ("", ""),
            ("$$", "$"),
        ] {
            assert_eq!(expand(text, lookup), expanded, "{text}");
        }
    }
}
