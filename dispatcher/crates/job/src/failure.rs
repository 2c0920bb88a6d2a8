//! Why an event or a Job failed: one closed list for the dead letters, their filters, the log, the page and traces.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! classes {
    ($($(#[doc = $about:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why an event or a Job failed. The names are those of a Kubernetes Job's conditions, if there is one.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FailureClass {
            $($(#[doc = $about])+ #[serde(rename = $name)] $variant,)+
            /// A name that this version does not have: another version has written it.
            #[default]
            Unknown,
        }

        impl FailureClass {
            /// All that this version gives.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name, as in the documents.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Unknown => "Unknown",
                }
            }
        }
    };
}

classes! {
    /// No trigger in force took the event.
    Unmatched = "Unmatched",
    /// The message is not a CloudEvent.
    NotACloudEvent = "NotACloudEvent",
    /// No client can parse the message's headers.
    UnreadableHeaders = "UnreadableHeaders",
    /// The event is too large for a Job.
    TooLarge = "TooLarge",
    /// The chain of events is a loop.
    HopLimit = "HopLimit",
    /// The action template cannot be rendered.
    PlanAction = "Plan-action",
    /// The name or namespace of a policyRef cannot be rendered.
    PlanReference = "Plan-reference",
    /// The target of a policyRef does not exist.
    PlanMissing = "Plan-missing",
    /// A template in a ConfigMap, or its YAML, cannot be rendered.
    PlanRender = "Plan-render",
    /// The rendered object is not allowed.
    PlanPolicy = "Plan-policy",
    /// The rendered object is not a Job.
    PlanCheck = "Plan-check",
    /// A rule of `podFailurePolicy` with the action `FailJob`.
    PodFailurePolicy = "PodFailurePolicy",
    /// More failed tries than `backoffLimit`.
    BackoffLimitExceeded = "BackoffLimitExceeded",
    /// It ran longer than `activeDeadlineSeconds`.
    DeadlineExceeded = "DeadlineExceeded",
    /// The image does not exist; on the process backend, the binary.
    ImageNotFound = "ImageNotFound",
    /// A Secret, ConfigMap or key is missing, or the environment cannot be given to a process.
    ConfigurationError = "ConfigurationError",
    /// The quota of its namespace is used up.
    QuotaExceeded = "QuotaExceeded",
    /// A Job of somebody else has the name.
    NameTaken = "NameTaken",
    /// It fits no node.
    Unschedulable = "Unschedulable",
    /// The backend could not start or follow it.
    BackendError = "BackendError",
    /// The backend itself fails, or accepts no Jobs from this dispatcher. The event is not the reason.
    BackendFailing = "BackendFailing",
    /// This machine lacks something, such as files, memory or disk, and nothing was started.
    LocalShortage = "LocalShortage",
    /// Its image is being replaced, and nothing was started.
    ImageReplaced = "ImageReplaced",
    /// A server refuses the worker's password, which may be about to change.
    CredentialsRefused = "CredentialsRefused",
    /// Jobs to be deleted could not be deleted.
    Delete = "Delete",
    /// Jobs that are not rendered any more could not be deleted.
    Prune = "Prune",
    /// The dispatcher itself failed.
    Bug = "Bug",
    /// No dispatcher has made this dead letter.
    Foreign = "Foreign",
}

impl FailureClass {
    /// Whether this failure counts as an attempt, against `--max-attempts`. OPERATIONS.md has a table of what does
    /// not count.
    pub const fn uses_an_attempt(self) -> bool {
        !matches!(
            self,
            Self::BackendFailing | Self::LocalShortage | Self::ImageReplaced | Self::CredentialsRefused
        )
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FailureClass {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self::ALL.iter().copied().find(|class| class.name() == name).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::FailureClass;

    #[test]
    fn a_name_is_read_back_and_one_of_another_version_is_unknown() {
        for class in FailureClass::ALL {
            assert_eq!(class.name().parse(), Ok(*class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
        }
        assert_eq!("Weather".parse(), Ok(FailureClass::Unknown));
    }
}
