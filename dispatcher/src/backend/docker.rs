//! Jobs as containers through the Docker Engine API: not part of this version.

use std::convert::Infallible;

use shared::error::{Error, Result};

use super::{Again, Ran};
use crate::engine::stop::Stop;
use crate::plan::{Identity, PlannedJob};

/// Cannot be made yet: [`Docker::open`] says so.
#[derive(Clone, Debug)]
pub struct Docker(Infallible);

#[expect(clippy::unused_async, reason = "every backend is asked the same way")]
impl Docker {
    /// A configuration error that names what to use instead.
    pub fn open() -> Result<Self> {
        Err(Error::configuration("the docker backend is not built into this version; use --backend process"))
    }

    pub(super) async fn run(&self, _job: &PlannedJob, _again: Again, _stop: &Stop) -> Ran {
        match self.0 {}
    }

    pub(super) async fn delete(&self, _identity: &Identity) -> Result<()> {
        match self.0 {}
    }

    pub(super) async fn logs(&self, _namespace: &str, _name: &str) -> Result<Option<String>> {
        match self.0 {}
    }

    pub(super) async fn check(&self) -> Result<()> {
        match self.0 {}
    }
}
