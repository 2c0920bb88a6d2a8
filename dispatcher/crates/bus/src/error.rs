//! What can go wrong with a bus, and whether trying again helps.

use std::fmt;

/// Result of the bus.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the bus. [`Error::try_again`] says whether a repeat may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A setting is missing or wrong, here or at the server; the text names it and the remedy. Trying again does not
    /// help.
    Configuration(String),
    /// The server or the file does not answer now. Trying again may help.
    Unavailable(String),
    /// This message can never be stored: too large, or a malformed subject or header. Trying again does not help.
    Refused(String),
}

impl Error {
    /// Whether the same call may work later.
    pub fn try_again(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Configuration(_) | Self::Refused(_) => false,
        }
    }
}

impl From<shared::Error> for Error {
    fn from(error: shared::Error) -> Self {
        use shared::Class;
        let text = error.to_string();
        match error.class() {
            Class::Input => Self::Refused(text),
            Class::Configuration | Class::Credentials | Class::Bug => Self::Configuration(text),
            Class::Unavailable | Class::Stopped => Self::Unavailable(text),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(text) | Self::Unavailable(text) | Self::Refused(text) => {
                formatter.write_str(text)
            }
        }
    }
}

impl std::error::Error for Error {}
