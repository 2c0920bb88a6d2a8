//! Colours on a terminal.

use std::io::IsTerminal;

/// Placeholders for the beginning and the end of a colour. They are replaced when the text is written, after all
/// other characters that control the terminal were made visible. No text contains them.
const MARKS: [(char, &str); 6] = [
    ('\u{fdd1}', "\x1b[1m"),
    ('\u{fdd2}', "\x1b[2m"),
    ('\u{fdd3}', "\x1b[31m"),
    ('\u{fdd4}', "\x1b[32m"),
    ('\u{fdd5}', "\x1b[33m"),
    (END, "\x1b[0m"),
];
const END: char = '\u{fdd0}';

/// Colours, or no colours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Colours if standard output is a terminal and `NO_COLOR` is not set.
    pub(crate) fn for_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self(wanted && std::io::stdout().is_terminal())
    }

    /// No colours.
    pub(crate) const fn none() -> Self {
        Self(false)
    }

    /// For failures.
    pub(crate) fn red(self, text: &str) -> String {
        self.with('\u{fdd3}', text)
    }

    /// For warnings.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.with('\u{fdd5}', text)
    }

    /// For successes.
    pub(crate) fn green(self, text: &str) -> String {
        self.with('\u{fdd4}', text)
    }

    /// For headings.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with('\u{fdd1}', text)
    }

    /// For less important text.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with('\u{fdd2}', text)
    }

    fn with(self, mark: char, text: &str) -> String {
        if self.0 { format!("{mark}{text}{END}") } else { text.to_owned() }
    }

    /// The text with its colours, or without.
    pub(crate) fn painted(self, text: &str) -> String {
        MARKS.iter().fold(text.to_owned(), |text, (mark, code)| {
            if text.contains(*mark) { text.replace(*mark, if self.0 { code } else { "" }) } else { text }
        })
    }
}
