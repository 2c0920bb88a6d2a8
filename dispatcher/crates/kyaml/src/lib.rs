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

/// What the reader's messages mean to the author of the text: a part of the message, and our words.
const MEANINGS: &[(&str, &str)] = &[
    (
        "unexpected character",
        "a text begins with a sign that has a meaning in YAML, such as @ or `: quote the text",
    ),
    ("mapping values", "a colon stands where no key can be: quote the text, or check the indentation"),
    ("quoted scalar indent", "a line of a quoted text is indented too little"),
    ("trailing content after", "text stands behind a closing quote"),
    ("escape", "an escape (\\) in double quotes is not known: write \\\\ for the sign itself"),
    ("hexadecimal", "an escape (\\) in double quotes lacks its hexadecimal digits"),
    ("surrogate", "an escape (\\) in double quotes names half a letter"),
    ("document indicator", "a quoted text is not closed before the next ---"),
    ("EOF", "the text ends before a bracket or a quote is closed"),
    ("eof", "the text ends before a bracket or a quote is closed"),
    ("unclosed", "a bracket or a quote is not closed"),
    ("bracket", "a closing bracket fits no open one"),
    ("flow", "a comma, a colon or a closing bracket is missing, or indented too little"),
    ("tab", "a tab stands where YAML allows spaces only"),
    ("comment", "a comment (#) stands where none can be, or without a space before it"),
    ("anchor or alias", "a name is missing behind & or *: quote a text that begins with it"),
    ("irective", "a line that begins with % is no directive of YAML: quote the text"),
    ("tag", "a tag (!) is not known"),
    ("TAG", "a tag (!) is not known"),
    ("block scalar", "a text behind | or > is indented wrongly"),
    ("block mapping", "a key with a colon is missing, or is indented wrongly"),
    ("key", "a key stands where none can be, or its colon is missing"),
    ("':'", "a colon stands where none can be: quote the text"),
    ("sequence", "a list item (-) stands where none can be: check the indentation"),
    ("'-'", "a list item (-) stands where none can be: check the indentation"),
    ("indent", "a line is indented wrongly"),
    ("document", "a line of --- or ... stands where none can be"),
];

/// Our words for a message of the parser.
fn meaning(message: &str) -> String {
    let known = MEANINGS.iter().find(|(part, _)| message.contains(part));
    known.map_or("the text cannot be read from here on", |(_, words)| words).to_owned()
}

/// Our words for a value of another type than a text, by what serde calls the value and the type.
pub fn other_type(unexpected: &str, expected: &str) -> String {
    let (kind, remedy) = match unexpected.split([' ', '`']).next() {
        Some("integer" | "floating" | "number") => ("a number", ": quote it"),
        Some("boolean") => ("true or false", ": quote it"),
        Some("unit" | "null") => ("empty", ""),
        Some("sequence") => ("a list", ""),
        Some("map") => ("a mapping", ""),
        _ => ("of another type", ""),
    };
    match expected {
        "a string" => format!("is {kind}, where a text must be{remedy}"),
        _ => format!("is {kind}, where something else must be"),
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
        Error::ExternalMessage { msg, .. } if !msg.contains("budget breached") => meaning(msg),
        Error::Unexpected { .. } => "a value is of another type than its place wants".to_owned(),
        Error::SerdeInvalidType { unexpected, expected, .. } => other_type(unexpected, expected),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_our_words() {
        for (text, said) in [
            ("a: @b\n", "such as @ or `: quote the text"),
            ("a: `b`\n", "such as @ or `: quote the text"),
            ("a: b: c\n", "a colon stands where no key can be"),
            ("a: [b\n", "bracket"),
            ("a: 'b\n", "quote"),
            ("a: b]\nc: ]\n", "a closing bracket fits no open one"),
            ("a:\n\tb: c\n", "a tab stands"),
            ("a: \"\\q\"\n", "an escape (\\) in double quotes is not known"),
            ("a: 'b' c\n", "behind a closing quote"),
            ("a: b\n  c\nd\n", "colon"),
            ("a: *\n", "a name is missing behind & or *"),
            ("a:\n  b: c\n d: e\n", "indented wrongly"),
            ("- a\nb: c\n", "a list item (-)"),
        ] {
            let message = parse_documents(text).unwrap_err().message;
            assert!(message.contains(said), "{text:?}: {message}");
            for theirs in ["scalar", "mapping values", "context", "while ", "expected", "EOF", "flow"] {
                assert!(!message.contains(theirs), "{text:?}: {message}");
            }
        }
        let other = "is a number, where a text must be: quote it";
        assert_eq!(other_type("floating point `1.23e+22`", "a string"), other);
        assert_eq!(other_type("integer `5`", "a string"), other);
        let read: Result<std::collections::BTreeMap<String, String>, _> =
            serde_saphyr::from_str_with_options("{a: [b]}", options());
        assert_eq!(words(&read.unwrap_err()), "a value is of another type than its place wants");
    }
}
