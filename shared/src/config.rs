//! Reads variables into typed configuration: those of the process, and below them a mounted Secret directory, read
//! once.
//!
//! Reads `CONFIG_DIR` (default `/etc/knapscen-config` if it exists): a directory of files whose names are keys, as
//! Kubernetes mounts a Secret. A variable of the environment wins. White space at both ends of a value is removed,
//! and an empty value counts as not set.
//!
//! ```
//! use shared::config::Environment;
//!
//! let environment = Environment::from_pairs([("DB_NAME", " orders \n"), ("DB_USER", "")]);
//! assert_eq!(environment.get("DB_NAME"), Some("orders"));
//! assert_eq!(environment.get("DB_USER"), None);
//! ```

mod host;
mod path;
#[cfg(feature = "net")]
mod redacted;
mod secret;
mod text;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::event;

pub use host::Host;
pub use path::{FilePath, shown};
#[cfg(feature = "net")]
pub use redacted::Redaction;
pub use secret::Secret;
pub use text::FromText;
pub use variables::{Described, Value, Variables};

const DEFAULT_DIRECTORY: &str = "/etc/knapscen-config";

/// Other names of our variables in the users' Secrets and Jobs.
const ALIASES: [(&str, &str); 4] = [
    ("ROLE_NAME", "USER_ROLE"),
    ("SMTP_HOST", "SMTP_SERVER"),
    ("SMTP_PASSWORD", "SMTP_PASS"),
    ("SMTP_USERNAME", "SMTP_USER"),
];

/// All variables of a process, without empty ones.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, Given>);

/// The directory with the rest of the configuration. Read before everything else.
#[derive(Deserialize)]
struct ConfigDir {
    config_dir: Option<PathBuf>,
}

/// The value of a variable.
#[derive(Clone)]
enum Given {
    Text(String),
    /// It is not text; the reason. This is an error only for a program that reads it.
    Unusable(&'static str),
}

impl Given {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Unusable(_) => None,
        }
    }

    fn is_empty(&self) -> bool {
        self.text().is_some_and(str::is_empty)
    }
}

/// A text without the white space around it. This includes byte order marks and zero-width blanks, which copying
/// leaves and Unicode does not count as white space.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}' | '\u{2060}' | '\0'))
}

impl Environment {
    /// The environment of this process, and below it the files of its configuration directory.
    pub fn from_process() -> Result<Self> {
        let pairs = std::env::vars_os().map(|(name, value)| {
            let given = match value.to_str() {
                Some(text) => Given::Text(trimmed(text).to_owned()),
                None => Given::Unusable("is not UTF-8"),
            };
            (name.to_string_lossy().into_owned(), given)
        });
        Self::of(pairs).with_directory()
    }

    /// Only these variables.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::of(pairs.into_iter().map(|(name, value)| {
            let value: String = value.into();
            (name.into(), Given::Text(trimmed(&value).to_owned()))
        }))
    }

    fn of(pairs: impl Iterator<Item = (String, Given)>) -> Self {
        let mut this = Self(pairs.filter(|(_, given)| !given.is_empty()).collect());
        this.resolve_aliases();
        this
    }

    fn with_directory(mut self) -> Result<Self> {
        let given = self.given("CONFIG_DIR")?.map(|path| ("CONFIG_DIR".to_owned(), path.to_owned()));
        let given: ConfigDir = envy::from_iter(given)
            .map_err(|_| Error::configuration("CONFIG_DIR is not the path of a folder"))?;
        let directory = match given.config_dir {
            Some(path) => path,
            None if Path::new(DEFAULT_DIRECTORY).is_dir() => PathBuf::from(DEFAULT_DIRECTORY),
            None => return Ok(self),
        };
        let unreadable = |error: std::io::Error| {
            let shown = FilePath::from(directory.clone());
            Error::configuration(format!("CONFIG_DIR: cannot read the folder {shown}")).because(error)
        };
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            // Kubernetes keeps the versions of a mounted Secret in directories whose names begin with two dots.
            if name.starts_with('.') || !path.is_file() || self.0.contains_key(name) {
                continue;
            }
            let given = match std::fs::read(&path).map(String::from_utf8) {
                Ok(Ok(text)) => Given::Text(trimmed(&text).to_owned()),
                Ok(Err(_)) => Given::Unusable("is not UTF-8 in CONFIG_DIR"),
                Err(_) => Given::Unusable("cannot be read in CONFIG_DIR"),
            };
            if !given.is_empty() {
                files.insert(name.to_owned(), given);
            }
        }
        self.0.extend(files);
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

    /// One variable; `None` if it is not text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.text()
    }

    /// One variable; an error if it is set but not text.
    pub fn given(&self, name: &str) -> Result<Option<&str>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Given::Text(text)) => Ok(Some(text)),
            Some(Given::Unusable(why)) => Err(Error::configuration(format!("{name} {why}"))),
        }
    }

    /// A variable that this input requires.
    pub fn require<T>(&self, name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| Error::configuration(format!("{name} is not set")))
    }

    /// An identity derived from the values of these variables: the same input has the same identity.
    pub fn identity(&self, step: &str, names: &[&str]) -> Uuid {
        let mut text = format!("input\n{step}");
        for name in names {
            let value = self.get(name).unwrap_or_default();
            // JSON with other white space or another order of keys is the same input.
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

#[cfg(test)]
mod tests {
    use super::*;

    crate::variables! {
        #[derive(Debug)]
        struct Settings {
            settings {
                host: String = "DB_HOST", "the server";
                port: Option<u16> = "DB_PORT", "its port";
            }
        }
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Settings> {
        Settings::read(&Environment::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error_that_names_it() {
        let error = read(&[]).unwrap_err();
        assert_eq!(error.to_string(), "DB_HOST is not set");
        assert_eq!(error.class().exit_code(), 78);
    }

    #[test]
    fn white_space_around_a_value_is_no_part_of_it_and_what_is_empty_then_is_not_set() {
        for around in [
            "\n",
            "\r\n",
            " ",
            "\t",
            "\u{b}\u{c}",
            "\u{85}",
            "\u{a0}",
            "\u{2028}",
            "\u{3000}",
            "\u{feff}",
            "\u{200b}",
        ] {
            let settings = read(&[("DB_HOST", &format!("{around}db{around}")), ("DB_PORT", around)]).unwrap();
            assert_eq!((settings.host.as_str(), settings.port), ("db", None), "{around:?}");
        }
        assert_eq!(read(&[("DB_HOST", "a b")]).unwrap().host, "a b", "within a value it stays");
    }

    #[test]
    fn a_malformed_value_is_never_shown_and_the_error_says_what_is_allowed() {
        for value in ["hunter2", "-1", "65536", "3306.0", "0x10"] {
            let error = read(&[("DB_HOST", "db"), ("DB_PORT", value)]).unwrap_err();
            assert_eq!(error.to_string(), "DB_PORT is not a whole number from 0 to 65535", "{value}");
            assert_eq!(error.class().exit_code(), 78);
        }
    }

    #[test]
    fn a_mounted_secret_is_read_and_the_environment_wins() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("DB_HOST"), "\u{feff}from-file\r\n").unwrap();
        std::fs::write(directory.path().join("SMTP_HOST"), "mail").unwrap();
        std::fs::write(directory.path().join("EMPTY"), " \n").unwrap();
        std::fs::create_dir(directory.path().join("..data")).unwrap();
        let path = directory.path().to_str().unwrap();
        let environment = Environment::from_pairs([("CONFIG_DIR", path)]).with_directory().unwrap();
        assert_eq!(environment.get("DB_HOST"), Some("from-file"));
        assert_eq!(environment.get("SMTP_SERVER"), Some("mail"));
        assert_eq!(environment.get("EMPTY"), None);
        let both = [("CONFIG_DIR", path), ("DB_HOST", "from-environment")];
        let environment = Environment::from_pairs(both).with_directory().unwrap();
        assert_eq!(environment.get("DB_HOST"), Some("from-environment"));
    }

    #[test]
    fn a_key_that_is_not_a_text_hurts_only_who_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("KEYSTORE"), b"\xff\xfe\x00\x01").unwrap();
        std::fs::write(directory.path().join("DB_HOST"), "db").unwrap();
        let environment = || {
            let path = directory.path().to_str().unwrap();
            Environment::from_pairs([("CONFIG_DIR", path)]).with_directory().unwrap()
        };
        assert_eq!(Settings::read(&environment()).unwrap().host, "db");
        std::fs::write(directory.path().join("DB_PORT"), b"\xff").unwrap();
        let error = Settings::read(&environment()).unwrap_err();
        assert_eq!(error.to_string(), "DB_PORT is not UTF-8 in CONFIG_DIR");
    }

    #[test]
    fn the_same_input_has_the_same_identity_whatever_its_white_space() {
        let identity = |data: &str| Environment::from_pairs([("DATA", data)]).identity("step", &["DATA"]);
        assert_eq!(identity(r#"{"a":1,"b":2}"#), identity(r#"{ "b": 2, "a": 1 }"#));
        assert_ne!(identity(r#"{"a":1}"#), identity(r#"{"a":2}"#));
    }
}
