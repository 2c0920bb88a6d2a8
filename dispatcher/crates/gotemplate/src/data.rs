//! How Go's encoders write values: JSON, YAML and TOML.

pub(super) mod json;
pub(super) mod toml;
pub(super) mod yaml;
