//! Parses Go template text into the parser's syntax tree, and refuses errors that the parser accepts.

use std::sync::Arc;

use gotmpl::parse::{DefineNode, ListNode, Node, Parser};

use super::error::TemplateError;

/// Text after the source that must come out as the last node of the top level. The parser stops silently at an extra
/// `{{end}}` and accepts blocks without an end; in both cases this text is missing or inside a block.
const SENTINEL: &str = "\u{1}end of template\u{1}";

/// The longest template, in bytes.
const SOURCE: usize = 1 << 20;

/// The most `else if` and `else with` actions in one template: the parser nests each inside the one before, on the
/// stack.
const CHAINED: usize = 100;

/// The top level of a template, and the templates that it defines.
pub(super) fn parse(source: &str) -> Result<(ListNode, Vec<DefineNode>), TemplateError> {
    if source.len() > SOURCE {
        return Err(TemplateError::whole(format!("the template is larger than {} MiB", SOURCE >> 20)));
    }
    if source.contains(SENTINEL) {
        return Err(TemplateError::whole("the template contains control characters"));
    }
    if let Some(offset) = chained_branches(source).nth(CHAINED) {
        return Err(TemplateError::at(source, offset, format!("more than {CHAINED} else-if branches")));
    }
    let guarded = format!("{source}{SENTINEL}");
    let (mut top, defines) =
        Parser::new(&guarded, "{{", "}}").and_then(Parser::parse).map_err(|error| located(source, error))?;
    match top.nodes.last_mut() {
        Some(Node::Text(last)) if last.text.ends_with(SENTINEL) => {
            last.text = Arc::from(last.text.trim_end_matches(SENTINEL));
        }
        _ => {
            return Err(TemplateError::whole(
                "an {{end}} or {{else}} too many, or a block without its {{end}}",
            ));
        }
    }
    Ok((top, defines))
}

/// The offsets of `{{else if` and `{{else with`.
fn chained_branches(source: &str) -> impl Iterator<Item = usize> {
    source.match_indices("{{").map(|(offset, _)| offset).filter(|offset| {
        let action = source[offset + 2..].trim_start_matches('-').trim_start();
        let condition = action.strip_prefix("else").map(str::trim_start);
        condition.is_some_and(|rest| rest.starts_with("if") || rest.starts_with("with"))
    })
}

fn located(source: &str, error: gotmpl::TemplateError) -> TemplateError {
    match error {
        gotmpl::TemplateError::Parse { line, col, message, .. }
        | gotmpl::TemplateError::Lex { line, col, message, .. } => {
            let place = |number: usize| u32::try_from(number).ok().filter(|number| *number > 0);
            let lines = source.lines().count().max(1);
            let message = if message.contains("character literal") || message.contains("character constant") {
                format!("{message}: a text stands in double quotes or in backquotes, not in single quotes")
            } else {
                message
            };
            TemplateError { line: place(line.min(lines)), column: place(col), message }
        }
        other => TemplateError::whole(other.to_string()),
    }
}
