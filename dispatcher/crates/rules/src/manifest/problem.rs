//! Problems with manifests, and their positions.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use shared::visible;

/// A line in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The file as it was given; a relative path stays relative.
    pub file: Arc<Path>,
    /// The line, counted from 1; 0 means the file as a whole.
    pub line: u32,
}

impl Position {
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

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name may hold a line break.
        let file = self.file.to_string_lossy();
        let file = visible::line(&file);
        match self.line {
            0 => write!(formatter, "{file}"),
            line => write!(formatter, "{file}:{line}"),
        }
    }
}

/// The position of a text inside a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPosition {
    /// Its first line.
    pub first: Position,
    /// Whether it is a block (`key: |`), whose lines are lines of the file.
    pub is_block: bool,
}

impl TextPosition {
    /// The position of line `line` of the text, counted from 1.
    pub fn line(&self, line: u32) -> Position {
        let below = if self.is_block { line.saturating_sub(1) } else { 0 };
        self.first.at(self.first.line + below)
    }
}

/// Whether a problem prevents the set from taking force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The set is refused.
    Error,
    /// The set is accepted, but somebody should look at it.
    Warning,
}

/// One finding in one manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file that contains it.
    pub file: PathBuf,
    /// The line, counted from 1; 0 means the file as a whole.
    pub line: u32,
    /// Whether it refuses the set.
    pub severity: Severity,
    /// The field, such as `spec.policyRefs[0].name`; empty for the whole object.
    pub field: String,
    /// What is wrong. It names the object and never quotes event data.
    pub message: String,
}

impl Problem {
    /// A problem that makes the set be refused.
    pub fn error(position: &Position, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(position, Severity::Error, field.into(), message.into())
    }

    /// A problem that somebody should look at.
    pub fn warning(position: &Position, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(position, Severity::Warning, field.into(), message.into())
    }

    fn new(position: &Position, severity: Severity, field: String, message: String) -> Self {
        Self { file: position.file.to_path_buf(), line: position.line, severity, field, message }
    }
}

impl fmt::Display for Problem {
    /// `events/a/b.yaml:12: error: spec.syncMode: message`, the notation of compilers.
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
