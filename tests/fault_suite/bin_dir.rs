//! The folder of the workers. A Job only has its own variables, so a script before each worker sets some more.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use shared::event::steps;
use tests::Setting;
use tests::program::binaries;
use tests::scratch::Scratch;

#[derive(Debug)]
pub(crate) struct BinDir {
    scratch: Scratch,
    scripts: Vec<(&'static str, String)>,
}

impl BinDir {
    pub(crate) fn new(variables: &[Setting]) -> Self {
        let exports: Vec<_> =
            variables.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
        let script = |worker| {
            let program = binaries().join(worker);
            format!("#!/bin/sh\n{}exec '{}' \"$@\"\n", exports.concat(), program.display())
        };
        let scripts = steps().map(|worker| (worker, script(worker))).collect();
        let bin_dir = Self { scratch: Scratch::new("bin"), scripts };
        bin_dir.restore();
        bin_dir
    }

    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// All workers are missing.
    pub(crate) fn remove(&self) {
        for (worker, _) in &self.scripts {
            fs::remove_file(self.scratch.join(worker)).expect("a script");
        }
    }

    /// As in the middle of a copy: only the beginning of each file, which cannot be executed yet.
    pub(crate) fn half(&self) {
        for (worker, script) in &self.scripts {
            self.scratch.write(worker, &script[..script.len() / 2]);
        }
    }

    /// All workers are complete again; each changes at once.
    pub(crate) fn restore(&self) {
        for (worker, script) in &self.scripts {
            let next = self.scratch.write(&format!("{worker}.next"), script);
            fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).expect("an executable script");
            fs::rename(next, self.scratch.join(worker)).expect("a script");
        }
    }
}
