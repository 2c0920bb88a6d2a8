//! `cargo run` builds one binary: the demo sees to the workers' itself.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use shared::error::{Error, Result};

use crate::command::{print, run};

/// The folder of the workers' binaries, built first where some are missing and this is a checkout.
pub(super) async fn workers(names: &[&str]) -> Result<PathBuf> {
    let folder = run::own_folder()?;
    // Below `cargo run` the sources may be newer than the binaries: cargo knows.
    let below_cargo = std::env::var_os("CARGO_MANIFEST_DIR").is_some();
    let missing: Vec<_> = names.iter().filter(|name| !folder.join(name).is_file()).copied().collect();
    if missing.is_empty() && !below_cargo {
        return Ok(folder);
    }
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().filter(|root| root.join("Cargo.toml").is_file());
    let Some(root) = root else {
        return Err(Error::configuration(format!(
            "{} is missing in {}",
            missing.join(", "),
            folder.display()
        )));
    };
    print::line("building the workers (the first time takes minutes)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = tokio::process::Command::new(cargo);
    command.current_dir(root).arg("build").arg("--locked").stdin(Stdio::null());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // target/<triple>/<profile> or target/<profile>: the folder above the profile is the target folder.
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    for name in names {
        command.args(["--package", name]);
    }
    let cannot =
        |error: std::io::Error| Error::configuration("cannot run cargo to build the workers").because(error);
    let status = command.status().await.map_err(cannot)?;
    if !status.success() {
        return Err(Error::configuration(format!("building the workers failed ({status})")));
    }
    Ok(folder)
}
