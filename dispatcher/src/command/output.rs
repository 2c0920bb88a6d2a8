//! The output of commands: for people or for programs, through one writer.

use std::io::Write;

use clap::ValueEnum;
use shared::visible;

use crate::paint::Paint;

/// For whom the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

impl Output {
    /// Writes to standard output. It is no error if the reader has gone (`| head`).
    pub fn print(self, text: &str) {
        let text = match self {
            Self::Text => Paint::for_stdout().painted(&visible::lines(text)),
            Self::Json => visible::json(text).into_owned(),
        };
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
