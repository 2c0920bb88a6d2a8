//! Manifests → matching → rendering → planned Jobs, and the flow that they form. Pure: contacts no server.
//!
//! What the shipped manifests do about one of their sample events:
//!
//! ```
//! use std::path::Path;
//!
//! use rules::manifest;
//! use rules::plan::{self, Action, Cluster, IncomingEvent, Policy};
//!
//! let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../events");
//! let manifests = manifest::load(&folder).expect("the shipped manifests are valid");
//! let sample = std::fs::read(folder.join("user-saved/sample.cloudevent")).expect("it is shipped as well");
//!
//! let event = IncomingEvent::parse("user-saved", &[], &sample)?;
//! let plans = plan::plan(&event, &manifests, &Cluster::default(), &Policy::default());
//! let Ok(Action::Create { jobs, .. }) = &plans[0].outcome else { panic!("it makes a Job") };
//! assert_eq!(plans[0].trigger, "user-saved-trigger");
//! assert!(jobs[0].spec.image.contains("save-user"));
//! # Ok::<(), plan::PlanError>(())
//! ```

pub mod job_rules;
pub mod manifest;
pub mod plan;

pub use plan::flow;
