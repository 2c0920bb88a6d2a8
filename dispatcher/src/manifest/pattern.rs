//! A regular expression of an `EventSource`, with Sveltos' rules: unanchored, empty matches all, invalid never matches.

use std::fmt;

use regex::{Regex, RegexBuilder};

use super::re2;

/// One field of a criterion.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    expression: Expression,
}

#[derive(Debug, Clone)]
enum Expression {
    /// The field is empty: anything matches.
    Any,
    Regex(Regex),
    /// Why it is none; nothing matches.
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

    /// The field as the manifest has it.
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

    /// Why the field is no regular expression, if it is none.
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

/// The last line of the parser's message: the lines before it draw the expression.
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
        assert_eq!(literal("^customer-saved$").as_deref(), Some("customer-saved"));
        assert_eq!(literal(r"^a\.b$").as_deref(), Some("a.b"));
        for text in ["customer-saved", "^customer-saved", "^a.b$", "^a|b$", r"^\d$", "^a(b)$", ""] {
            assert_eq!(literal(text), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_is_not_anchored() {
        assert!(Pattern::new("saved".into()).matches("disco.knapscen.customer.saved.v2"));
        assert!(!Pattern::new("^saved".into()).matches("customer-saved"));
    }

    #[test]
    fn an_invalid_pattern_never_matches_and_says_why() {
        let pattern = Pattern::new("customer-(".into());
        assert!(!pattern.matches("customer-("));
        assert_eq!(pattern.fault(), Some("unclosed group"));
    }
}
