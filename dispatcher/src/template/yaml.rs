//! Reads YAML 1.1 as Kubernetes does: documents split at `---` lines, `yes` and `on` booleans, `010` octal.

use serde_json::Value as Json;

use super::error::TemplateError;

/// A text that is not the YAML it should be. `line` counts from 1 in the whole text.
pub type YamlError = TemplateError;

/// Longest text read.
const TEXT: usize = 8 << 20;
const DOCUMENTS: usize = 1_000;
const NODES: usize = 50_000;
const DEPTH: usize = 64;
const REFERENCES: usize = 100;
const SCALARS: usize = 4 << 20;

/// The documents of a text; those that are blank, comments or null are left out.
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

pub(super) fn options() -> serde_saphyr::Options {
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
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

/// Our words where the reader's own would quote the text, or speak of its options.
fn located(error: &serde_saphyr::Error, lines_before: usize) -> YamlError {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    let message = match error {
        Error::DuplicateMappingKey { .. } => "a key occurs twice in a mapping".to_owned(),
        Error::MergeKeyNotAllowed { .. } => "merge keys (<<) are not supported".to_owned(),
        Error::NonFiniteFloat { .. } => "a number is not finite".to_owned(),
        Error::Budget { .. } => "the YAML is too large, too deep or has too many references".to_owned(),
        other => {
            let message = other.to_string();
            message.split(" at line ").next().unwrap_or_default().to_owned()
        }
    };
    let Some(location) = error.location() else { return YamlError::whole(message) };
    let line = location.line() + lines_before as u64;
    YamlError { line: u32::try_from(line).ok(), column: u32::try_from(location.column()).ok(), message }
}
