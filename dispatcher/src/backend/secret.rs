//! The file behind a Secret or `ConfigMap`: an env file, its manifest, or a folder of files as Kubernetes mounts it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use shared::error::{Error, Result};

use crate::template;

/// Keys and values. Never logged.
pub(super) type Content = BTreeMap<String, Vec<u8>>;

/// What Jobs may refer to, by name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Secrets.
    pub secrets: BTreeMap<String, Source>,
    /// `ConfigMap`s.
    pub config_maps: BTreeMap<String, Source>,
}

impl Sources {
    /// Refuses what cannot be read now.
    pub(super) fn check(&self) -> Result<()> {
        for (name, source) in self.secrets.iter().chain(&self.config_maps) {
            source.read().map_err(|problem| Error::configuration(format!("cannot use {name}: {problem}")))?;
        }
        Ok(())
    }
}

/// Where the content is; read anew for every Job.
#[derive(Clone, Debug)]
pub struct Source(pub PathBuf);

impl Source {
    /// The content now. The problem names the file and line, never a value.
    pub(super) fn read(&self) -> std::result::Result<Content, String> {
        let path = &self.0;
        let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
        if path.is_dir() {
            return folder(path).map_err(unreadable);
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        if text.lines().any(|line| line.starts_with("kind:")) || text.trim_start().starts_with('{') {
            manifest(&text).map_err(|problem| format!("{}: {problem}", path.display()))
        } else {
            env_file(&text).map_err(|problem| format!("{}: {problem}", path.display()))
        }
    }
}

fn folder(path: &Path) -> std::io::Result<Content> {
    let mut content = Content::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !name.starts_with("..") && path.is_file() {
            content.insert(name.to_owned(), fs::read(&path)?);
        }
    }
    Ok(content)
}

fn manifest(text: &str) -> std::result::Result<Content, String> {
    // The error of the parser may quote what stands there.
    let documents = template::parse_documents(text).map_err(|_| "it is not YAML".to_owned())?;
    let is_wanted = |value: &&Value| matches!(value["kind"].as_str(), Some("Secret" | "ConfigMap"));
    let object = documents.iter().find(is_wanted).ok_or("it holds no Secret and no ConfigMap")?;
    let is_secret = object["kind"] == "Secret";
    let mut content = Content::new();
    for (field, encoded) in [("data", is_secret), ("binaryData", true), ("stringData", false)] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            let text = value.as_str().ok_or_else(|| format!("{field}.{key} is not a text; quote it"))?;
            let bytes = if encoded {
                let text: String = text.split_whitespace().collect();
                STANDARD.decode(text).map_err(|_| format!("{field}.{key} is not base64"))?
            } else {
                text.as_bytes().to_vec()
            };
            content.insert(key.clone(), bytes);
        }
    }
    Ok(content)
}

/// `KEY=VALUE` per line; blank lines and `#` lines are skipped, an `export` before and a pair of quotes around are taken off.
fn env_file(text: &str) -> std::result::Result<Content, String> {
    let mut content = Content::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) =
            line.split_once('=').ok_or_else(|| format!("line {} is not KEY=VALUE", index + 1))?;
        let value = value.trim();
        let quoted = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        content.insert(key.trim().to_owned(), value.as_bytes().to_vec());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Content, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, text).unwrap();
        Source(path).read()
    }

    fn expected(pairs: &[(&str, &str)]) -> Content {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn an_env_file_is_read() {
        let content = read("# a comment\n\nA=1\nexport B = two words \nC=\"a=b\"\nD='#'\nE=\n").unwrap();
        assert_eq!(content, expected(&[("A", "1"), ("B", "two words"), ("C", "a=b"), ("D", "#"), ("E", "")]));
    }

    #[test]
    fn a_malformed_line_is_named_and_not_shown() {
        let problem = read("A=1\nhunter2\n").unwrap_err();
        assert!(problem.ends_with("line 2 is not KEY=VALUE") && !problem.contains("hunter2"), "{problem}");
    }

    #[test]
    fn the_manifest_of_a_secret_is_decoded_and_its_plain_texts_win() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata:\n  A: MQ==\n  B: Mg==\nstringData:\n  B: two\n";
        assert_eq!(read(text).unwrap(), expected(&[("A", "1"), ("B", "two")]));
        let text = "kind: ConfigMap\ndata:\n  A: MQ==\n";
        assert_eq!(read(text).unwrap(), expected(&[("A", "MQ==")]));
        assert!(read("kind: Secret\ndata:\n  A: hunter2!\n").unwrap_err().ends_with("data.A is not base64"));
    }

    #[test]
    fn a_mounted_secret_is_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("A"), "1").unwrap();
        fs::write(folder.path().join(".dockerconfigjson"), "{}").unwrap();
        fs::create_dir(folder.path().join("..data")).unwrap();
        let content = Source(folder.path().to_owned()).read().unwrap();
        assert_eq!(content, expected(&[(".dockerconfigjson", "{}"), ("A", "1")]));
    }
}
