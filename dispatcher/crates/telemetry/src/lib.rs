//! The dispatcher's metrics, and the traces of its Jobs. Takes plain values, and knows neither engine nor bus.

pub mod metrics;
#[cfg(feature = "traces")]
pub mod traces;
#[cfg(not(feature = "traces"))]
#[path = "no_traces.rs"]
pub mod traces;
