//! Makes text from outside safe for a terminal, a log or an error: characters that would control a terminal, or look
//! like another line, become visible.
//!
//! ```
//! assert_eq!(shared::visible::line("Acme"), "Acme");
//! assert!(!shared::visible::line("two\nlines").contains('\n'));
//! assert!(!shared::visible::lines("\u{1b}[2J").contains('\u{1b}'));
//! ```

use std::borrow::Cow;
use std::fmt::Write;

/// Text on one line: line breaks and tabs also become visible.
pub fn line(text: &str) -> Cow<'_, str> {
    replaced(text, steers, |out, letter| match letter {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        other => escape(out, other),
    })
}

/// Text of several lines: line breaks and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    replaced(text, |letter| steers(letter) && !matches!(letter, '\n' | '\t'), escape)
}

/// JSON text: the same value, with JSON's own escapes. White space between values stays.
pub fn json(text: &str) -> Cow<'_, str> {
    let raw = |letter| steers(letter) && !matches!(letter, '\n' | '\r' | '\t');
    replaced(text, raw, |out, letter| {
        let _ = write!(out, "\\u{:04x}", u32::from(letter)); // writing to a String cannot fail
    })
}

/// Control characters (C0, C1, DEL), characters that change the direction of text, and the line breaks of Unicode.
const fn steers(letter: char) -> bool {
    matches!(letter, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}')
        || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{61c}')
}

fn escape(out: &mut String, letter: char) {
    out.extend(letter.escape_unicode());
}

fn replaced(text: &str, wanted: impl Fn(char) -> bool, replace: impl Fn(&mut String, char)) -> Cow<'_, str> {
    let Some(first) = text.find(&wanted) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for letter in text[first..].chars() {
        if wanted(letter) {
            replace(&mut out, letter);
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character that must not reach a terminal.
    fn all() -> String {
        let kinds = ['\0'..='\u{1f}', '\u{7f}'..='\u{9f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
        kinds
            .into_iter()
            .flatten()
            .chain(['\u{2028}', '\u{2029}', '\u{200e}', '\u{200f}', '\u{61c}'])
            .collect()
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        assert!(!line(&all()).contains(steers));
        assert_eq!(lines(&all()).replace(['\n', '\t'], "").find(steers), None);
        assert_eq!(line("a\u{1b}]0;x\u{7}\n\u{202e}b"), "a\\u{1b}]0;x\\u{7}\\n\\u{202e}b");
        assert_eq!(lines("a\r\n\tb\u{9b}31m"), "a\\u{d}\n\tb\\u{9b}31m");
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in ["", "Zoë & Søn \u{200d}\u{301} \\n", "日本 🕺"] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a": all(), "b": "\n\\u{9b}" });
        for text in [value.to_string(), format!("{value:#}")] {
            let shown = json(&text);
            assert_eq!(shown.replace('\n', "").find(steers), None, "{shown}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
