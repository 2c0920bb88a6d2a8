//! The folder of the workers. A Job has no variables but its own, so each has a script before it that sets some more.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests::Setting;
use tests::program::binaries;
use tests::scratch::Scratch;

use crate::workers::WORKERS;

#[derive(Debug)]
pub(crate) struct BinDir(Scratch);

impl BinDir {
    pub(crate) fn new(variables: &[Setting]) -> Self {
        let exports: Vec<_> =
            variables.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
        let scratch = Scratch::new("bin");
        for worker in WORKERS {
            let program = binaries().join(worker);
            let script = format!("#!/bin/sh\n{}exec '{}' \"$@\"\n", exports.concat(), program.display());
            let path = scratch.write(worker, &script);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("an executable script");
        }
        Self(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
