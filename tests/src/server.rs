//! Servers that this machine does not have, installed by `tests/servers/server` when the first test needs one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The folder of the server with this name: its program is `run`.
pub fn place(name: &str) -> &'static Path {
    static PLACES: Mutex<BTreeMap<String, &'static Path>> = Mutex::new(BTreeMap::new());
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    places.entry(name.to_owned()).or_insert_with(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/server");
        let output = Command::new(script).arg(name).output().expect("tests/servers/server runs");
        assert!(output.status.success(), "no {name}: {}", String::from_utf8_lossy(&output.stderr));
        let place = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Box::leak(PathBuf::from(place).into_boxed_path())
    })
}
