//! The bus for commands that only visit it.

use shared::error::{Error, Result};

use crate::bus::{Access, Bus, Settings};

/// Opens the bus beside the dispatcher that consumes from it.
pub(super) async fn visit(settings: &Settings) -> Result<Bus> {
    Bus::open(settings, Access::Visit).await.map_err(failed)
}

/// What a failure of the bus means for a command.
pub(super) fn failed(error: crate::bus::Error) -> Error {
    if error.try_again() {
        Error::unavailable("the bus does not answer").because(error)
    } else {
        Error::configuration("the bus cannot be used").because(error)
    }
}
