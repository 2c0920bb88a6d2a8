//! The path of a file in a variable.

use std::fmt;
use std::path::{Path, PathBuf};

/// The longest file name; what people write here by mistake is usually longer.
const MAX_NAME_BYTES: usize = 64;
/// The endings of the files that we read. A bare name with another ending may be a password.
const ENDINGS: [&str; 8] = [".pem", ".crt", ".cer", ".key", ".creds", ".json", ".yaml", ".db"];

/// A path that is only shown if it looks like one, because people sometimes write the content of the file, or a
/// password, in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct FilePath(PathBuf);

impl FilePath {
    /// The path itself, for opening the file.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Whether it looks like a path: it begins at the root or with a dot, or has one of our endings, and each name in
    /// it looks like a file name.
    fn reads_as_path(&self) -> bool {
        let Some(text) = self.0.to_str() else { return false };
        let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '/');
        (text.starts_with(['/', '.']) || ENDINGS.iter().any(|ending| text.ends_with(ending)))
            && text.chars().all(is_usual)
            && text.split('/').all(|name| name.len() <= MAX_NAME_BYTES)
    }
}

/// The path of a file or folder for messages. If it exists, it may also be a plain name.
pub fn shown(path: &Path) -> String {
    let plain = FilePath(Path::new(".").join(path));
    if plain.reads_as_path() && path.exists() {
        path.display().to_string()
    } else {
        FilePath(path.to_owned()).to_string()
    }
}

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reads_as_path() { self.0.display().fmt(f) } else { f.write_str("[does not read as a path]") }
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_shows_under_a_plain_name_as_well() {
        let ground = tempfile::tempdir().unwrap();
        let (folder, other) = (ground.path().join("a folder"), ground.path().join("folder"));
        assert!(shown(&other).ends_with("/folder"));
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(shown(&folder), "[does not read as a path]");
        assert_eq!(shown(Path::new("src")), "src");
        assert_eq!(shown(Path::new("hunter2")), "[does not read as a path]");
    }

    #[test]
    fn a_path_shows_and_what_was_put_in_its_place_does_not() {
        for path in
            ["/etc/nats/user.creds", "./ca.pem", "../mails", "ca.pem", "/var/run/secrets/nats-1/tls.crt"]
        {
            assert_eq!(FilePath::from(PathBuf::from(path)).to_string(), path);
        }
        let seed = format!("/{}", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY".repeat(2));
        for other in
            ["hunter2", "-----BEGIN NATS USER JWT-----\neyJ0", "mysql://u:hunter2@h/d", "/a b", &seed]
        {
            let path = FilePath::from(PathBuf::from(other));
            assert_eq!(format!("{path} {path:?}"), "[does not read as a path] [does not read as a path]");
        }
    }
}
