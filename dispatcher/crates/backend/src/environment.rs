//! The environment of a Job, as Kubernetes makes it: `envFrom` in order, then `env`. Pure except for the files that
//! it reads.

use std::collections::BTreeMap;

use super::FailureClass;
use super::secret::{Content, Kind, Sources};
use super::start_error::StartError;
use rules::plan::{EnvFrom, EnvValue, JobSpec, KeyRef, expand};

/// The kernel refuses to start a process with a longer string (`MAX_ARG_STRLEN`); it counts `NAME=`, value and end.
const LONGEST_STRING: usize = 128 * 1024;

/// The variables of a Job.
pub(super) fn of(spec: &JobSpec, sources: &Sources) -> Result<BTreeMap<String, String>, StartError> {
    let mut files = Files::new(sources);
    let mut variables = BTreeMap::new();
    for source in &spec.env_from {
        let (kind, name, optional, prefix) = match source {
            EnvFrom::Secret { name, optional, prefix } => (Kind::Secret, name, *optional, prefix),
            EnvFrom::ConfigMap { name, optional, prefix } => (Kind::ConfigMap, name, *optional, prefix),
        };
        let Some(content) = files.content(kind, name, optional)? else { continue };
        for (key, value) in content {
            // Keys that cannot be variables are skipped, as in a cluster: a keystore may be in the same Secret as the
            // passwords.
            let key = format!("{prefix}{key}");
            match std::str::from_utf8(value) {
                Ok(value) if is_variable(&key, value) => drop(variables.insert(key, value.to_owned())),
                _ => {}
            }
        }
    }
    let mut own = BTreeMap::new();
    for variable in &spec.env {
        let value = match &variable.value {
            EnvValue::Literal(value) => Some(expand(value, |name| own.get(name).cloned())),
            EnvValue::SecretKey(key) => files.value(Kind::Secret, key)?,
            EnvValue::ConfigMapKey(key) => files.value(Kind::ConfigMap, key)?,
            EnvValue::Unsupported(what) => {
                return Err(refused(format!(
                    "{} comes from {what}, which only Kubernetes knows",
                    variable.name
                )));
            }
        };
        if let Some(value) = value {
            own.insert(variable.name.clone(), value);
        }
    }
    variables.extend(own);
    Ok(variables)
}

fn is_variable(name: &str, value: &str) -> bool {
    let length = name.len() + value.len() + 2;
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0') && length <= LONGEST_STRING
}

/// Refuses what `execve` would refuse without naming the variable.
pub(super) fn check(variables: &BTreeMap<String, String>) -> Result<(), StartError> {
    for (name, value) in variables {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(refused(format!("{name:?} cannot be the name of a variable")));
        }
        if value.contains('\0') {
            return Err(refused(format!("{name} holds a NUL character, which no variable can")));
        }
        let length = name.len() + value.len() + 2;
        if length > LONGEST_STRING {
            return Err(refused(format!(
                "{name} has {} bytes, more than a process can be given in one variable ({LONGEST_STRING})",
                value.len()
            )));
        }
    }
    Ok(())
}

/// Each file is read once for each start, so that a changed Secret counts from the next Job on, as in a cluster.
pub(super) struct Files<'a> {
    sources: &'a Sources,
    read: BTreeMap<(Kind, String), Content>,
}

impl<'a> Files<'a> {
    pub(super) const fn new(sources: &'a Sources) -> Self {
        Self { sources, read: BTreeMap::new() }
    }

    /// The content of a Secret or `ConfigMap`; `None` if it is optional and not given.
    pub(super) fn content(
        &mut self,
        kind: Kind,
        name: &str,
        optional: bool,
    ) -> Result<Option<&Content>, StartError> {
        let (what, flag) = kind.words();
        let Some(source) = self.sources.get(kind, name) else {
            return if optional {
                Ok(None)
            } else {
                Err(refused(format!("the {what} {name} is not given; name its file with {flag} {name}=FILE")))
            };
        };
        let key = (kind, name.to_owned());
        if !self.read.contains_key(&key) {
            let content = source
                .read(kind, name)
                .map_err(|problem| refused(format!("the {what} {name}: {problem}")))?;
            self.read.insert(key.clone(), content);
        }
        Ok(self.read.get(&key))
    }

    fn value(&mut self, kind: Kind, reference: &KeyRef) -> Result<Option<String>, StartError> {
        let KeyRef { name, key, optional } = reference;
        let Some(content) = self.content(kind, name, *optional)? else { return Ok(None) };
        match content.get(key) {
            Some(value) => text(kind, name, key, value).map(Some),
            None if *optional => Ok(None),
            None => Err(refused(format!("the {} {name} has no key {key}", kind.words().0))),
        }
    }
}

fn text(kind: Kind, name: &str, key: &str, value: &[u8]) -> Result<String, StartError> {
    let not_text = || refused(format!("{key} of the {} {name} is not UTF-8 text", kind.words().0));
    String::from_utf8(value.to_vec()).map_err(|_| not_text())
}

fn refused(message: String) -> StartError {
    StartError::Refused(FailureClass::ConfigurationError, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_no_process_can_have_is_named() {
        let message =
            |name: &str, value: &str| match check(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
                .unwrap_err()
            {
                StartError::Refused(FailureClass::ConfigurationError, message) => message,
                other => panic!("{other:?}"),
            };
        assert!(
            message("COMPANY_DATA", &"x".repeat(LONGEST_STRING)).starts_with("COMPANY_DATA has 131072 bytes")
        );
        assert!(message("NAME", "a\0b").contains("NUL"));
        assert!(message("A=B", "x").contains("name of a variable"));
        assert!(check(&BTreeMap::from([("A".to_owned(), "x".repeat(LONGEST_STRING - 3))])).is_ok());
    }
}
