//! Types for Jobs and their outcomes, shared by all parts of the dispatcher. Imports none of our other crates.
//!
//! ```
//! use job::Identity;
//!
//! let first = Identity {
//!     trigger: "user-saved-trigger".to_owned(),
//!     source: "knapscen.disco".to_owned(),
//!     subject: "user-1".to_owned(),
//!     event_id: "event-1".to_owned(),
//!     replay: 0,
//! };
//! let second = Identity { event_id: "event-2".to_owned(), ..first.clone() };
//! assert_eq!(first.hash(), second.hash(), "they are about one thing");
//! assert_ne!(first.event_hash(), second.event_hash(), "they are different events");
//! ```

mod digest;
mod failure;
mod identity;
mod image;
mod mask;
mod outcome;
mod run;
#[cfg(feature = "stop")]
pub mod stop;

pub use digest::digest;
pub use failure::FailureClass;
pub use identity::Identity;
pub use image::short;
pub use mask::masked;
pub use outcome::{Failure, MAX_TERMINATION_MESSAGE, Outcome, Ran, Report, Try};
pub use run::{EventFacts, JobRun, State};
