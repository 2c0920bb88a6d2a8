//! What is wrong with a manifest, and where.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

/// A line in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was given (relative stays relative).
    pub file: Arc<Path>,
    /// The line, from 1; 0 means the file as a whole.
    pub line: u32,
}

impl Place {
    /// A folder or file as a whole.
    pub fn of_folder(path: &Path) -> Self {
        Self { file: Arc::from(path), line: 0 }
    }

    /// Another line of the same file.
    #[must_use]
    pub fn at(&self, line: u32) -> Self {
        Self { file: Arc::clone(&self.file), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}", self.file.display()),
            line => write!(formatter, "{}:{line}", self.file.display()),
        }
    }
}

/// Where a text inside a manifest stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPlace {
    /// Its first line.
    pub first: Place,
    /// It is a block (`key: |`), so that its lines are the file's lines.
    pub is_block: bool,
}

impl TextPlace {
    /// Where the text's line `line`, from 1, stands.
    pub fn line(&self, line: u32) -> Place {
        let below = if self.is_block { line.saturating_sub(1) } else { 0 };
        self.first.at(self.first.line + below)
    }
}

/// Whether a problem keeps the set from taking force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The set is refused.
    Error,
    /// The set is accepted; somebody should look.
    Warning,
}

/// One finding in one manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file it is in.
    pub file: PathBuf,
    /// The line, from 1; 0 means the file as a whole.
    pub line: u32,
    /// Whether it refuses the set.
    pub severity: Severity,
    /// The field, such as `spec.policyRefs[0].name`; empty means the whole object.
    pub field: String,
    /// What is wrong; names the thing, never quotes event data.
    pub message: String,
}

impl Problem {
    /// A problem that refuses the set.
    pub fn error(place: &Place, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(place, Severity::Error, field.into(), message.into())
    }

    /// A problem that somebody should look at.
    pub fn warning(place: &Place, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(place, Severity::Warning, field.into(), message.into())
    }

    fn new(place: &Place, severity: Severity, field: String, message: String) -> Self {
        Self { file: place.file.to_path_buf(), line: place.line, severity, field, message }
    }
}

impl fmt::Display for Problem {
    /// `events/a/b.yaml:12: error: spec.syncMode: message`, as compilers write it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if self.line > 0 {
            write!(formatter, ":{}", self.line)?;
        }
        match self.severity {
            Severity::Error => write!(formatter, ": error: ")?,
            Severity::Warning => write!(formatter, ": warning: ")?,
        }
        if !self.field.is_empty() {
            write!(formatter, "{}: ", self.field)?;
        }
        write!(formatter, "{}", self.message)
    }
}
