//! A regular expression of an `EventSource`, with Sveltos' rules: unanchored; an empty one matches everything, an
//! invalid one nothing.

use std::fmt;

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{Extractor, Literal};

use super::re2;

/// An expression with more alternatives than this counts as a wildcard.
const MOST_NAMES: usize = 64;

/// One field of a criterion.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    expression: Expression,
}

#[derive(Debug, Clone)]
enum Expression {
    /// The field is empty, so anything matches.
    Any,
    Regex(Regex),
    /// The reason why it is invalid; nothing matches.
    Invalid(String),
}

impl Pattern {
    pub(super) fn new(text: String) -> Self {
        let expression = if text.is_empty() {
            Expression::Any
        } else {
            match RegexBuilder::new(&re2::translate(&text)).octal(true).build() {
                Ok(regex) => Expression::Regex(regex),
                Err(error) => Expression::Invalid(reason(&error)),
            }
        };
        Self { text, expression }
    }

    /// Whether the expression occurs anywhere in `text`.
    pub fn matches(&self, text: &str) -> bool {
        match &self.expression {
            Expression::Any => true,
            Expression::Regex(regex) => regex.is_match(text),
            Expression::Invalid(_) => false,
        }
    }

    /// The field as written in the manifest.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// The one text that matches, if the expression is anchored and has no special character: `^a-b$` → `a-b`.
    pub fn literal(&self) -> Option<String> {
        let inner = self.text.strip_prefix('^')?.strip_suffix('$')?;
        let mut literal = String::with_capacity(inner.len());
        let mut rest = inner.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => literal.push(rest.next().filter(char::is_ascii_punctuation)?),
                c if regex::escape(c.encode_utf8(&mut [0; 4])).len() > c.len_utf8() && c != '-' => {
                    return None;
                }
                c => literal.push(c),
            }
        }
        Some(literal)
    }

    /// The texts that the expression lists, such as `a-b` and `a-c` for `^a-(b|c)$`; empty if it has a wildcard.
    pub fn names(&self) -> Vec<String> {
        let parser = &mut ParserBuilder::new().octal(true).build();
        let Ok(expression) = parser.parse(&re2::translate(&self.text)) else { return Vec::new() };
        let found = Extractor::new().limit_total(MOST_NAMES).extract(&expression);
        // Exact: only these texts match.
        let exact = found.literals().filter(|all| !all.is_empty() && all.iter().all(Literal::is_exact));
        let names = exact.into_iter().flatten().filter_map(|one| str::from_utf8(one.as_bytes()).ok());
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Why the field is not a regular expression; `None` if it is one.
    pub fn fault(&self) -> Option<&str> {
        match &self.expression {
            Expression::Invalid(reason) => Some(reason),
            _ => None,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/{}/", self.text)
    }
}

/// The last line of the parser's message; the lines before it draw the expression.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_pattern_matches_all() {
        assert!(Pattern::new(String::new()).matches(""));
        assert!(Pattern::new(String::new()).matches("anything"));
    }

    #[test]
    fn the_literal_of_an_anchored_pattern_is_known() {
        let literal = |text: &str| Pattern::new(text.into()).literal();
        assert_eq!(literal("^item-saved$").as_deref(), Some("item-saved"));
        assert_eq!(literal(r"^a\.b$").as_deref(), Some("a.b"));
        for text in ["item-saved", "^item-saved", "^a.b$", "^a|b$", r"^\d$", "^a(b)$", ""] {
            assert_eq!(literal(text), None, "{text}");
        }
    }

    #[test]
    fn the_texts_that_a_pattern_names_are_known() {
        let names = |text: &str| Pattern::new(text.into()).names();
        assert_eq!(names("^item-saved$"), ["item-saved"]);
        assert_eq!(names("item-saved"), ["item-saved"]);
        assert_eq!(names(r"^a\.(b|c)$"), ["a.b", "a.c"]);
        for wild in ["", "^item-.*$", "^item-", "^a.b$", r"^\d+$", "^a+$", "item-("] {
            let found = names(wild);
            assert!(found.is_empty() || wild == "^item-", "{wild}: {found:?}");
        }
    }

    #[test]
    fn a_pattern_is_not_anchored() {
        assert!(Pattern::new("saved".into()).matches("disco.knapscen.item.saved.v2"));
        assert!(!Pattern::new("^saved".into()).matches("item-saved"));
    }

    #[test]
    fn an_invalid_pattern_never_matches_and_says_why() {
        let pattern = Pattern::new("item-(".into());
        assert!(!pattern.matches("item-("));
        assert_eq!(pattern.fault(), Some("unclosed group"));
    }
}
