//! Finds the programs of the steps: beside this program, or in it.

use std::path::{Path, PathBuf};

use shared::error::{Error, Result};
use shared::private;

use crate::command::run;

/// The folder of this program, if it also contains all others.
pub(super) fn beside(names: &[&str]) -> Result<PathBuf> {
    let folder = run::own_folder()?;
    let missing: Vec<_> = names.iter().filter(|name| !folder.join(name).is_file()).copied().collect();
    if missing.is_empty() {
        return Ok(folder);
    }
    Err(Error::configuration(format!(
        "{} is missing in {}: \"cargo run -- demo\" brings its own workers",
        missing.join(", "),
        folder.display()
    )))
}

/// A new folder in which each name is a link to this program.
pub(super) fn linked(names: &[&str], folder: &Path) -> Result<PathBuf> {
    let make = || {
        let own = std::env::current_exe()?;
        private::folder(folder)?;
        names.iter().try_for_each(|name| std::os::unix::fs::symlink(&own, folder.join(name)))
    };
    make().map_err(|error| {
        Error::configuration(format!("cannot make links in {}", folder.display())).because(error)
    })?;
    Ok(folder.to_owned())
}
