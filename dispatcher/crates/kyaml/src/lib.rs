//! Reads YAML 1.1 as Kubernetes does: documents split at `---` lines, `yes` and `on` booleans, `010` octal.
//!
//! ```
//! use serde_json::json;
//!
//! let documents = kyaml::parse_documents("mode: 010\nenabled: yes\n---\n# nothing here\n---\n- a\n")?;
//! assert_eq!(documents, [json!({"mode": 8, "enabled": true}), json!(["a"])]);
//! # Ok::<(), kyaml::YamlError>(())
//! ```

use std::fmt;

use serde_json::Value as Json;

/// A text that is not valid YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// The line in the whole text, counted from 1.
    pub line: Option<u32>,
    /// The column in that line, in characters, counted from 1.
    pub column: Option<u32>,
    /// What is wrong; it never quotes the text.
    pub message: String,
}

impl fmt::Display for YamlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(formatter, "line {line}, column {column}: {}", self.message),
            (Some(line), None) => write!(formatter, "line {line}: {}", self.message),
            _ => formatter.write_str(&self.message),
        }
    }
}

impl std::error::Error for YamlError {}

impl YamlError {
    /// An error of the text as a whole.
    fn whole(message: impl Into<String>) -> Self {
        Self { line: None, column: None, message: message.into() }
    }
}

const TOO_LARGE: &str = "the YAML is too large, too deep or has too many references";

/// The longest text that is read, in bytes.
const TEXT: usize = 8 << 20;
const DOCUMENTS: usize = 1_000;
const NODES: usize = 50_000;
const DEPTH: usize = 64;
const REFERENCES: usize = 100;
const SCALARS: usize = 4 << 20;

/// The documents of a text, without those that are blank, comments or null.
pub fn parse_documents(text: &str) -> Result<Vec<Json>, YamlError> {
    if text.len() > TEXT {
        return Err(YamlError::whole(format!("the text is larger than {} MiB", TEXT >> 20)));
    }
    let mut documents = Vec::new();
    for (line, document) in split(text)? {
        if documents.len() >= DOCUMENTS {
            return Err(YamlError::whole(format!("more than {DOCUMENTS} documents")));
        }
        let parsed = serde_saphyr::from_multiple_with_options::<Json>(document, options())
            .map_err(|error| located(&error, line))?;
        documents.extend(parsed.into_iter().filter(|document| !document.is_null()));
    }
    Ok(documents)
}

/// The texts between lines of `---`, each with the number of lines before it.
fn split(text: &str) -> Result<Vec<(usize, &str)>, YamlError> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if let Some(rest) = line.strip_prefix("---") {
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                if line[3..].starts_with([' ', '\t']) {
                    let message = "text behind the document separator ---";
                    return Err(YamlError { column: Some(1), ..at_line(number + 1, message) });
                }
            } else {
                documents.push((start_line, &text[start..offset]));
                start = offset + line.len();
                start_line = number + 1;
            }
        }
        offset += line.len();
    }
    documents.push((start_line, &text[start..]));
    Ok(documents)
}

fn at_line(line: usize, message: &str) -> YamlError {
    YamlError { line: u32::try_from(line).ok(), column: None, message: message.to_owned() }
}

/// The options with which all YAML is read, for readers that need more than values.
pub fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: DOCUMENTS,
            max_nodes: NODES,
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
            max_anchors: REFERENCES,
            max_aliases: REFERENCES,
            max_total_scalar_bytes: SCALARS,
        },
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Merge,
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

/// Our own words, where the reader's would quote the text or name its options.
pub fn words(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error.without_snippet() {
        Error::DuplicateMappingKey { .. } => "a key occurs twice in a mapping".to_owned(),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            "a merge key (<<) needs a mapping, or a list of mappings".to_owned()
        }
        Error::NonFiniteFloat { .. } => "a number is not finite".to_owned(),
        Error::UnknownAnchor { .. } => "an alias (*) names no anchor (&) that stands before it".to_owned(),
        Error::UnsupportedTag { .. } | Error::TaggedScalarCannotDeserializeIntoString { .. } => {
            "a tag (!) is not known".to_owned()
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => TOO_LARGE.to_owned(),
        other => {
            let message = other.to_string();
            // If an alias exceeds a limit, the error is of another kind.
            if message.contains("budget breached") {
                return TOO_LARGE.to_owned();
            }
            let message = message.split(" at line ").next().unwrap_or_default();
            // The rest of the message is for programmers who use the reader.
            message.split(", set ").next().unwrap_or_default().lines().next().unwrap_or_default().to_owned()
        }
    }
}

fn located(error: &serde_saphyr::Error, lines_before: usize) -> YamlError {
    let message = words(error);
    let error = error.without_snippet();
    let Some(location) = error.location() else { return YamlError::whole(message) };
    let line = location.line() + lines_before as u64;
    YamlError { line: u32::try_from(line).ok(), column: u32::try_from(location.column()).ok(), message }
}
