//! Variables to typed configuration: the process environment over a mounted Secret directory, read once, by envy.
//!
//! Reads `CONFIG_DIR` (default `/etc/knapscen-config` where it exists): a directory of files whose names are keys, as
//! Kubernetes mounts a Secret. A variable of the environment wins; an empty one counts as not set.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::event;

const DEFAULT_DIRECTORY: &str = "/etc/knapscen-config";

/// Other names that the users' Secrets and Jobs give to our variables.
const ALIASES: [(&str, &str); 4] = [
    ("ROLE_NAME", "USER_ROLE"),
    ("SMTP_HOST", "SMTP_SERVER"),
    ("SMTP_PASSWORD", "SMTP_PASS"),
    ("SMTP_USERNAME", "SMTP_USER"),
];

/// A value that never shows in `Debug`, a log or an error.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// All variables that a process was given, empty ones left out.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process, over the files of its configuration directory.
    pub fn from_process() -> Result<Self> {
        let mut pairs = Vec::new();
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let value =
                value.into_string().map_err(|_| Error::configuration(format!("{name} is not UTF-8")))?;
            pairs.push((name, value));
        }
        Self::from_pairs(pairs).with_directory()
    }

    /// These variables alone.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let filled =
            pairs.into_iter().map(|(k, v)| (k.into(), v.into())).filter(|(_, v)| !v.trim().is_empty());
        let mut this = Self(filled.collect());
        this.resolve_aliases();
        this
    }

    fn with_directory(mut self) -> Result<Self> {
        let directory = match self.get("CONFIG_DIR") {
            Some(path) => PathBuf::from(path),
            None if Path::new(DEFAULT_DIRECTORY).is_dir() => PathBuf::from(DEFAULT_DIRECTORY),
            None => return Ok(self),
        };
        let unreadable = |path: &Path, error: std::io::Error| {
            Error::configuration(format!("cannot read {} of CONFIG_DIR", path.display())).because(error)
        };
        let entries = std::fs::read_dir(&directory).map_err(|error| unreadable(&directory, error))?;
        for entry in entries {
            let path = entry.map_err(|error| unreadable(&directory, error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            // Kubernetes keeps the versions of a mounted Secret in directories whose names start with two dots.
            if name.starts_with('.') || !path.is_file() || self.0.contains_key(name) {
                continue;
            }
            let value = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            let value = value.trim_end_matches(['\r', '\n']);
            if !value.is_empty() {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
        self.resolve_aliases();
        Ok(self)
    }

    fn resolve_aliases(&mut self) {
        for (alias, name) in ALIASES {
            if let Some(value) = self.0.remove(alias) {
                self.0.entry(name.to_owned()).or_insert(value);
            }
        }
    }

    /// One variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The fields of `T` by their names in capitals. A missing or malformed one is a configuration error that
    /// names the variable and never shows its value.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        let pairs = self.0.iter().map(|(name, value)| (name.clone(), value.clone()));
        envy::from_iter(pairs).map_err(|error| match error {
            envy::Error::MissingValue(field) => {
                Error::configuration(format!("{} is not set", field.to_uppercase()))
            }
            envy::Error::Custom(text) => Error::configuration(without_value(&text)),
        })
    }

    /// A variable that this input makes necessary.
    pub fn require(&self, name: &str, value: Option<String>) -> Result<String> {
        value.ok_or_else(|| Error::configuration(format!("{name} is not set")))
    }

    /// An identity derived from the values of these variables: the same input has the same identity.
    pub fn identity(&self, step: &str, names: &[&str]) -> Uuid {
        let mut text = format!("input\n{step}");
        for name in names {
            let value = self.get(name).unwrap_or_default();
            // JSON that differs only in white space and order of keys is the same input.
            let value = serde_json::from_str::<serde_json::Value>(value)
                .map_or_else(|_| value.to_owned(), |json| json.to_string());
            text.push('\n');
            text.push_str(name);
            text.push('=');
            text.push_str(&value);
        }
        event::derive_id(&text)
    }
}

/// envy says `… while parsing value 'SECRET' provided by NAME`: keep what is wrong and the name only.
fn without_value(text: &str) -> String {
    match (text.split_once(" while parsing value '"), text.rsplit_once("' provided by ")) {
        (Some((problem, _)), Some((_, name))) => format!("{name} is not valid: {problem}"),
        _ if text.starts_with("unknown variant `") => {
            let expected = text.split_once("expected ").map_or("", |(_, expected)| expected);
            format!("a variable has an unknown value, expected {expected}")
        }
        _ => "a variable is not valid".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Settings {
        db_host: String,
        db_port: Option<u16>,
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error_that_names_it() {
        let error = Environment::default().read::<Settings>().unwrap_err();
        assert_eq!(error.to_string(), "DB_HOST is not set");
        assert_eq!(error.class().exit_code(), 78);
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let environment = Environment::from_pairs([("DB_HOST", "db"), ("DB_PORT", "")]);
        let settings: Settings = environment.read().unwrap();
        assert_eq!((settings.db_host.as_str(), settings.db_port), ("db", None));
    }

    #[test]
    fn a_malformed_value_is_named_but_never_shown() {
        let environment = Environment::from_pairs([("DB_HOST", "db"), ("DB_PORT", "hunter2")]);
        let message = environment.read::<Settings>().unwrap_err().to_string();
        assert!(message.contains("DB_PORT") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn a_mounted_secret_is_read_and_the_environment_wins() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("DB_HOST"), "from-file\n").unwrap();
        std::fs::write(directory.path().join("SMTP_HOST"), "mail").unwrap();
        std::fs::create_dir(directory.path().join("..data")).unwrap();
        let path = directory.path().to_str().unwrap();
        let environment = Environment::from_pairs([("CONFIG_DIR", path)]).with_directory().unwrap();
        assert_eq!(environment.get("DB_HOST"), Some("from-file"));
        assert_eq!(environment.get("SMTP_SERVER"), Some("mail"));
        let both = [("CONFIG_DIR", path), ("DB_HOST", "from-environment")];
        let environment = Environment::from_pairs(both).with_directory().unwrap();
        assert_eq!(environment.get("DB_HOST"), Some("from-environment"));
    }

    #[test]
    fn the_same_input_has_the_same_identity_whatever_its_white_space() {
        let identity = |data: &str| Environment::from_pairs([("DATA", data)]).identity("step", &["DATA"]);
        assert_eq!(identity(r#"{"a":1,"b":2}"#), identity(r#"{ "b": 2, "a": 1 }"#));
        assert_ne!(identity(r#"{"a":1}"#), identity(r#"{"a":2}"#));
    }

    #[test]
    fn a_secret_never_shows_in_debug() {
        assert_eq!(format!("{:?}", Secret::from("hunter2".to_owned())), "[secret]");
    }
}
