//! The file behind a Secret or `ConfigMap`: an env file, its manifest, or a folder of files as Kubernetes mounts it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use shared::config::shown;
use shared::error::{Error, Result};
use shared::private;

/// The largest file: Kubernetes takes 1 MiB for all values of a Secret together.
const MAX_BYTES: u64 = 4 << 20;

/// Keys and values. Never logged.
pub type Content = BTreeMap<String, Vec<u8>>;

/// The kind of object that a file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A Secret.
    Secret,
    /// A `ConfigMap`.
    ConfigMap,
}

impl Kind {
    /// What the kind is called, and the option that names its file.
    pub(super) const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Secret => ("Secret", "--secret"),
            Self::ConfigMap => ("ConfigMap", "--config-map"),
        }
    }
}

/// The objects that Jobs may refer to, by name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Secrets.
    pub secrets: BTreeMap<String, Source>,
    /// `ConfigMap`s.
    pub config_maps: BTreeMap<String, Source>,
}

impl Sources {
    /// The file of this kind and name, if it is given.
    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<&Source> {
        match kind {
            Kind::Secret => self.secrets.get(name),
            Kind::ConfigMap => self.config_maps.get(name),
        }
    }

    /// Refuses files that cannot be read now, and warns of values that do not mean what they seem to.
    pub(super) fn check(&self) -> Result<()> {
        let secrets = self.secrets.iter().map(|(name, source)| (Kind::Secret, name, source));
        let maps = self.config_maps.iter().map(|(name, source)| (Kind::ConfigMap, name, source));
        for (kind, name, source) in secrets.chain(maps) {
            source
                .read(kind, name)
                .map_err(|problem| Error::configuration(format!("cannot use {name}: {problem}")))?;
            for line in source.quoted_lines() {
                tracing::warn!(
                    name,
                    file = shown(&source.0),
                    line,
                    "the quotes are part of the value, as kubectl create secret --from-env-file has it; take them away if they are not meant"
                );
            }
        }
        Ok(())
    }
}

/// Where the content is; read again for every Job.
#[derive(Clone, Debug)]
pub struct Source(pub PathBuf);

impl Source {
    /// The present content of the Secret or `ConfigMap` called `name`. A problem names the file and line, never a
    /// value.
    pub(super) fn read(&self, kind: Kind, name: &str) -> std::result::Result<Content, String> {
        let path = &self.0;
        let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", shown(path));
        if path.is_dir() {
            return folder(path).map_err(unreadable);
        }
        let text = read_text(path).map_err(unreadable)?;
        content(&text, kind, name).map_err(|problem| format!("{}: {problem}", shown(path)))
    }

    /// The lines of an env file whose value is in quotes.
    fn quoted_lines(&self) -> Vec<usize> {
        let text = read_text(&self.0).unwrap_or_default();
        let is_quoted = |line: &str| {
            let value = line.split_once('=').map(|(_, value)| value.trim_end()).unwrap_or_default();
            value.len() > 1
                && ['"', '\''].iter().any(|quote| value.starts_with(*quote) && value.ends_with(*quote))
        };
        let text = without_mark(&text);
        if looks_like_a_manifest(text) || has_a_kind(text) {
            return Vec::new();
        }
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
        lines.filter(|(_, line)| is_quoted(line)).map(|(index, _)| index + 1).collect()
    }
}

/// The content of a file, for the Secret or `ConfigMap` called `name` if it is a manifest. A problem names the line,
/// never a value.
pub fn content(text: &str, kind: Kind, name: &str) -> std::result::Result<Content, String> {
    let text = without_mark(text);
    if looks_like_a_manifest(text) {
        return manifest(text, kind, name);
    }
    // No text is both: the line of a manifest's kind is no line of an env file. So most files are read only once.
    env_file(text, |key| std::env::var(key).ok())
        .or_else(|problem| if has_a_kind(text) { manifest(text, kind, name) } else { Err(problem) })
}

/// Editors on some systems begin a file with a byte order mark.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Only a regular file: it is read for each Job, and a Job must not wait for somebody who writes.
fn read_text(path: &Path) -> std::io::Result<String> {
    let not_text = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8");
    String::from_utf8(private::read(path, MAX_BYTES)?).map_err(not_text)
}

fn looks_like_a_manifest(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("kind:")) || text.trim_start().starts_with('{')
}

fn has_a_kind(text: &str) -> bool {
    let names_it = |documents: Vec<Value>| documents.iter().any(|document| document["kind"].is_string());
    kyaml::parse_documents(text).is_ok_and(names_it)
}

fn folder(path: &Path) -> std::io::Result<Content> {
    let mut content = Content::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !name.starts_with("..") && path.is_file() {
            content.insert(name.to_owned(), private::read(&path, MAX_BYTES)?);
        }
    }
    Ok(content)
}

/// The object with that kind and name among all documents and the items of Lists; otherwise the only one of that
/// kind; otherwise the only one.
fn manifest(text: &str, kind: Kind, name: &str) -> std::result::Result<Content, String> {
    // The parser's message may quote the file.
    let documents = kyaml::parse_documents(text).map_err(|_| "it is not YAML".to_owned())?;
    let mut objects = Vec::new();
    for document in &documents {
        let kind = document["kind"].as_str().unwrap_or_default();
        // The items of a SecretList need not repeat their kind.
        let of_list = kind.strip_suffix("List").unwrap_or_default();
        match document["items"].as_array() {
            Some(items) => {
                objects.extend(items.iter().map(|item| (item["kind"].as_str().unwrap_or(of_list), item)));
            }
            None => objects.push((kind, document)),
        }
    }
    let (what, _) = kind.words();
    let all: Vec<_> =
        objects.into_iter().filter(|(kind, _)| matches!(*kind, "Secret" | "ConfigMap")).collect();
    let own: Vec<_> = all.iter().filter(|(kind, _)| *kind == what).copied().collect();
    let named = own.iter().find(|(_, object)| object["metadata"]["name"] == name);
    let (kind, object) = match (named, own.as_slice(), all.as_slice()) {
        (Some(object), _, _) => *object,
        (None, [only], _) | (None, [], [only]) => *only,
        (None, [], []) => return Err("it holds no Secret and no ConfigMap".to_owned()),
        _ => return Err(format!("it holds several objects, and none of them is the {what} {name}")),
    };
    let is_secret = kind == "Secret";
    let mut content = Content::new();
    for (field, encoded) in [("data", is_secret), ("binaryData", true), ("stringData", false)] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            let text = match value {
                Value::String(text) => text.as_str(),
                // A key without a value exists and is empty.
                Value::Null => "",
                _ => return Err(format!("{field}.{key} is not a text; quote it")),
            };
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

/// `KEY=VALUE` on each line, as `kubectl create secret --from-env-file` reads it: blank lines and `#` lines are
/// skipped, everything after the first `=` is the value, including quotes and white space, and a key alone takes its
/// value from the environment, or is empty.
fn env_file(
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> std::result::Result<Content, String> {
    let mut content = Content::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with("export ") {
            return Err(format!(
                "line {number} begins with export, which kubectl refuses as well: take it away"
            ));
        }
        let (key, value) = if let Some((key, value)) = line.split_once('=') {
            (key, value.to_owned())
        } else {
            if !is_key(line) {
                return Err(format!("line {number} is not KEY=VALUE"));
            }
            (line, environment(line).unwrap_or_default())
        };
        if !is_key(key) {
            return Err(format!(
                "line {number} has an invalid key: use letters, digits, dots, hyphens and underscores, no digit and no two dots first, and 253 characters at most"
            ));
        }
        if content.insert(key.to_owned(), value.into_bytes()).is_some() {
            return Err(format!("the key of line {number} occurs twice"));
        }
    }
    Ok(content)
}

fn is_key(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_dots = text == "." || text.starts_with("..");
    let starts_well = !text.starts_with(|c: char| c.is_ascii_digit()) && !is_dots;
    (1..=253).contains(&text.len()) && text.bytes().all(fits) && starts_well
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Content, String> {
        named(text, Kind::Secret, "x")
    }

    fn named(text: &str, kind: Kind, name: &str) -> std::result::Result<Content, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, text).unwrap();
        Source(path).read(kind, name)
    }

    fn expected(pairs: &[(&str, &str)]) -> Content {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn an_env_file_means_what_kubectl_takes_it_for() {
        let content =
            read("# a comment\n\n  A=1\r\nB= two words \nC=\"a=b\"\nD='#'\nE=\nd.e-f_=#x\n").unwrap();
        let pairs =
            [("A", "1"), ("B", " two words "), ("C", "\"a=b\""), ("D", "'#'"), ("E", ""), ("d.e-f_", "#x")];
        assert_eq!(content, expected(&pairs));
        for (text, words) in [
            ("export A=1\n", "line 1 begins with export"),
            ("A=1\nA=2\n", "the key of line 2 occurs twice"),
            ("A B=hunter2\n", "line 1 has an invalid key"),
            ("1A=hunter2\n", "line 1 has an invalid key"),
            ("=hunter2\n", "line 1 has an invalid key"),
            (".=hunter2\n", "line 1 has an invalid key"),
            ("..a=hunter2\n", "line 1 has an invalid key"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(words) && !problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_key_alone_takes_its_value_from_the_environment() {
        let environment = |key: &str| (key == "HOME_OF").then(|| "x".to_owned());
        assert_eq!(
            env_file("HOME_OF\nA=1\n", environment).unwrap(),
            expected(&[("A", "1"), ("HOME_OF", "x")])
        );
        assert_eq!(env_file("NOWHERE\n", environment).unwrap(), expected(&[("NOWHERE", "")]));
        assert!(env_file("hunter 2\n", environment).unwrap_err().contains("line 1 is not KEY=VALUE"));
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read("\u{feff}A=1\n").unwrap(), expected(&[("A", "1")]));
        assert_eq!(read("\u{feff}kind: Secret\nstringData: {A: b}\n").unwrap(), expected(&[("A", "b")]));
        assert_eq!(
            read("\u{feff}{\"kind\": \"Secret\", \"stringData\": {\"A\": \"b\"}}").unwrap(),
            expected(&[("A", "b")])
        );
    }

    #[test]
    fn lines_with_quotes_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "A=1\n# B=\"x\"\nB=\"x y\" \nC='\nD='z'\nE=a\"b\"\n").unwrap();
        assert_eq!(Source(path).quoted_lines(), [3, 5]);
    }

    #[test]
    fn a_malformed_line_is_named_and_not_shown() {
        let problem = read("A=1\nhunter/2\n").unwrap_err();
        assert!(problem.ends_with("line 2 is not KEY=VALUE") && !problem.contains("hunter"), "{problem}");
    }

    #[test]
    fn a_manifest_is_known_however_it_is_written() {
        for text in [
            "\"kind\": Secret\nstringData: {A: b}\n",
            "'kind': Secret\nstringData: {A: b}\n",
            "kind : Secret\nstringData: {A: b}\n",
            "  kind: Secret\n  stringData: {A: b}\n",
            "---\n{\"kind\": \"Secret\", \"stringData\": {\"A\": \"b\"}}\n",
            "# a comment\n{\"kind\": \"Secret\", \"stringData\": {\"A\": \"b\"}}\n",
        ] {
            assert_eq!(read(text).unwrap(), expected(&[("A", "b")]), "{text}");
        }
        assert_eq!(read("A=kind: Secret\n").unwrap(), expected(&[("A", "kind: Secret")]));
    }

    #[test]
    fn what_never_ends_is_no_file_of_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            let problem = Source(path.to_owned()).read(Kind::Secret, "x").unwrap_err();
            assert!(problem.contains("cannot read"), "{problem}");
        }
    }

    #[test]
    fn the_manifest_of_a_secret_is_decoded_and_its_plain_texts_win() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata:\n  A: MQ==\n  B: Mg==\n  C:\nstringData:\n  B: two\n";
        assert_eq!(read(text).unwrap(), expected(&[("A", "1"), ("B", "two"), ("C", "")]));
        let text = "kind: ConfigMap\ndata:\n  A: MQ==\n";
        assert_eq!(read(text).unwrap(), expected(&[("A", "MQ==")]));
        assert!(read("kind: Secret\ndata:\n  A: hunter2!\n").unwrap_err().ends_with("data.A is not base64"));
    }

    #[test]
    fn of_several_objects_the_one_of_that_kind_and_name_is_taken() {
        let object = |kind: &str, name: &str| {
            let field = if kind == "Secret" { "stringData" } else { "data" };
            format!("kind: {kind}\nmetadata: {{name: {name}}}\n{field}: {{A: {kind}-{name}}}\n")
        };
        let several =
            [object("Secret", "other"), object("ConfigMap", "x"), object("Secret", "x")].join("---\n");
        assert_eq!(named(&several, Kind::Secret, "x").unwrap(), expected(&[("A", "Secret-x")]));
        assert_eq!(named(&several, Kind::Secret, "other").unwrap(), expected(&[("A", "Secret-other")]));
        assert_eq!(named(&several, Kind::ConfigMap, "x").unwrap(), expected(&[("A", "ConfigMap-x")]));
        // The only object of its kind may have another name.
        assert_eq!(named(&several, Kind::ConfigMap, "z").unwrap(), expected(&[("A", "ConfigMap-x")]));
        assert!(named(&several, Kind::Secret, "z").unwrap_err().ends_with("none of them is the Secret z"));
        let list = serde_json::json!({"kind": "List", "items": [
            {"kind": "Secret", "metadata": {"name": "other"}, "data": {"A": "MQ=="}},
            {"kind": "Secret", "metadata": {"name": "x"}, "data": {"A": "Mg=="}},
        ]});
        assert_eq!(read(&list.to_string()).unwrap(), expected(&[("A", "2")]));
        let of_kind = serde_json::json!({"kind": "SecretList", "items": [
            {"metadata": {"name": "other"}, "data": {"A": "MQ=="}},
            {"metadata": {"name": "x"}, "data": {"A": "Mg=="}},
        ]});
        assert_eq!(read(&of_kind.to_string()).unwrap(), expected(&[("A", "2")]));
    }

    #[test]
    fn a_mounted_secret_is_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("A"), "1").unwrap();
        fs::write(folder.path().join(".dockerconfigjson"), "{}").unwrap();
        fs::create_dir(folder.path().join("..data")).unwrap();
        let content = Source(folder.path().to_owned()).read(Kind::Secret, "x").unwrap();
        assert_eq!(content, expected(&[(".dockerconfigjson", "{}"), ("A", "1")]));
    }
}
