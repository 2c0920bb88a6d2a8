//! The error type of workers and dispatcher: what went wrong, and whether trying again helps.
//!
//! ```
//! use shared::{Class, Error};
//!
//! let error = Error::unavailable("the vendor does not answer").because("timed out");
//! assert_eq!(error.class(), Class::Unavailable);
//! assert_eq!(error.class().exit_code(), 75);
//! assert_eq!(error.to_string(), "the vendor does not answer: timed out");
//! ```

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use crate::visible;

/// The result type with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The class of a failure. It alone decides the exit code and whether the platform tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The input can never work.
    Input,
    /// Configuration is missing or wrong.
    Configuration,
    /// A server does not accept our password, token or the like. It may be about to change.
    Credentials,
    /// A server is away, slow, or asks us to come back later.
    Unavailable,
    /// We were asked to stop before the work was done.
    Stopped,
    /// A bug of ours.
    Bug,
}

impl Class {
    /// The exit code, after `sysexits.h`: 65 `EX_DATAERR`, 70 `EX_SOFTWARE`, 75 `EX_TEMPFAIL`, 78 `EX_CONFIG`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Input => 65,
            Self::Configuration | Self::Credentials => 78,
            Self::Unavailable | Self::Stopped => 75,
            Self::Bug => 70,
        }
    }

    /// Whether the same run may succeed later.
    pub const fn retry(self) -> bool {
        matches!(self, Self::Unavailable | Self::Stopped)
    }

    /// The class of one of our exit codes; `None` for 0 and for codes that we never use.
    pub const fn from_exit_code(code: i32) -> Option<Self> {
        match code {
            65 => Some(Self::Input),
            78 => Some(Self::Configuration),
            75 => Some(Self::Unavailable),
            70 => Some(Self::Bug),
            _ => None,
        }
    }
}

/// A failure: a class, a message that names the thing, and its cause.
#[derive(Debug)]
pub struct Error {
    class: Class,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure of this class.
    pub fn of(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), source: None }
    }

    /// The input can never work.
    pub fn input(message: impl Into<String>) -> Self {
        Self::of(Class::Input, message)
    }

    /// Configuration is missing or wrong.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::of(Class::Configuration, message)
    }

    /// A server does not accept our password, token or the like.
    pub fn credentials(message: impl Into<String>) -> Self {
        Self::of(Class::Credentials, message)
    }

    /// A server is away; trying again later may help.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::of(Class::Unavailable, message)
    }

    /// We were asked to stop.
    pub fn stopped(message: impl Into<String>) -> Self {
        Self::of(Class::Stopped, message)
    }

    /// A bug of ours.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::of(Class::Bug, message)
    }

    /// The same error, with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The class of this failure.
    pub const fn class(&self) -> Class {
        self.class
    }
}

/// The message, then each cause that adds something.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible::lines(&self.message))?;
        let mut said = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {}", visible::lines(&text))?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<&Error> for ExitCode {
    fn from(error: &Error) -> Self {
        Self::from(error.class.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_exit_code_and_says_whether_to_retry() {
        let table = [
            (Class::Input, 65, false),
            (Class::Configuration, 78, false),
            (Class::Credentials, 78, false),
            (Class::Unavailable, 75, true),
            (Class::Stopped, 75, true),
            (Class::Bug, 70, false),
        ];
        for (class, code, retry) in table {
            assert_eq!((class.exit_code(), class.retry()), (code, retry), "{class:?}");
            let back = Class::from_exit_code(code.into()).unwrap();
            assert_eq!(back.retry(), retry, "{class:?}");
        }
        assert_eq!(Class::from_exit_code(0), None);
        assert_eq!(Class::from_exit_code(1), None);
    }

    #[test]
    fn the_message_names_the_thing_and_then_its_cause_once() {
        let cause = std::io::Error::other("connection refused");
        let error = Error::unavailable("cannot reach the database at db:3306").because(cause);
        assert_eq!(error.to_string(), "cannot reach the database at db:3306: connection refused");
        let wrapped = Error::unavailable("save-user failed: connection refused")
            .because(std::io::Error::other("connection refused"));
        assert_eq!(wrapped.to_string(), "save-user failed: connection refused");
    }
}
