//! Everything that makes a worker tiny: configuration, the run harness, events, bus, database, mail, HTTP and telemetry.
//!
//! A worker implements [`Step`] and calls [`run`]; the rest happens here, in one order for all of them.

pub mod bus;
pub mod calendar;
pub mod config;
pub mod customer;
pub mod database;
pub mod error;
pub mod event;
pub mod http;
pub mod mail;
pub mod nats;
mod run;
pub mod telemetry;
pub mod tls;

pub use error::{Class, Error, Result};
pub use run::{Step, run};
pub use serde;
pub use uuid::Uuid;
