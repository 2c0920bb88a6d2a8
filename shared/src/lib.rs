//! Everything that workers share, so that they are tiny: configuration, the run itself, events, bus, database, mail,
//! HTTP and telemetry.
//!
//! A worker implements [`Step`] and calls [`run`], which does everything else in the same order for all of them.

#[cfg(feature = "net")]
pub mod address;
#[cfg(feature = "net")]
pub mod answers;
#[cfg(feature = "net")]
pub mod bus;
pub mod calendar;
pub mod config;
#[cfg(feature = "net")]
pub mod customer;
#[cfg(feature = "net")]
pub mod database;
#[cfg(feature = "net")]
pub mod effect;
pub mod error;
pub mod event;
#[cfg(feature = "net")]
pub mod http;
#[cfg(feature = "net")]
pub mod mail;
#[cfg(feature = "net")]
pub mod nats;
pub mod pauses;
pub mod private;
#[cfg(feature = "net")]
mod run;
pub mod telemetry;
#[cfg(feature = "net")]
pub mod testing;
#[cfg(feature = "net")]
pub mod tls;
pub mod visible;

pub use error::{Class, Error, Result};
#[cfg(feature = "net")]
pub use run::{Announced, Step, run};
pub use serde;
pub use uuid::Uuid;

#[cfg(feature = "net")]
pub mod prelude {
    //! The names that every step uses.

    pub use serde_json::{Value, json};

    pub use crate::config::Environment;
    pub use crate::database::{Connection, Receipts};
    pub use crate::effect::Effect;
    pub use crate::event::{Announcement, Cause, Kind};
    pub use crate::telemetry::Report;
    pub use crate::{Announced, Error, Result, Step, Uuid};
}
