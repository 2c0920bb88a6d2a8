//! How a command speaks: to people or to machines, with colour on a terminal only.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;

/// For whom the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Writes to standard output; a reader that has gone (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// Colours if standard output is a terminal and `NO_COLOR` is not set.
    pub fn for_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self(wanted && std::io::stdout().is_terminal())
    }

    /// No colours.
    pub const fn none() -> Self {
        Self(false)
    }

    /// For what failed.
    pub fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    /// For what somebody should look at.
    pub fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    /// For what went well.
    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// For headings.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// For what matters less.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
