//! Why nothing was started.

use super::{FailureClass, Ran};

/// Why nothing was started.
#[derive(Debug)]
pub(super) enum StartError {
    /// It cannot be started as things are.
    Refused(FailureClass, String),
    /// It cannot be started now.
    Later(FailureClass, String),
}

impl From<StartError> for Ran {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Refused(class, message) => Self::refused(class, message),
            StartError::Later(class, message) => Self::postponed(class, message),
        }
    }
}
