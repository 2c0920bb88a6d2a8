//! A small disk of its own for the dispatchers' state, so that it can be filled without harm to the machine.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::scratch::Scratch;

const SIZE: &str = "size=256m";

/// A file system in memory, removed on drop. Without the right to mount one, a folder.
#[derive(Debug)]
pub(crate) struct Disk {
    mounted: bool,
    folder: PathBuf,
    scratch: Scratch,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new("disk");
        let folder = scratch.path().to_owned();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&folder).output();
        let mounted = mount.is_ok_and(|output| output.status.success());
        Self { mounted, folder, scratch }
    }

    /// Fails if it is not a file system of its own, because then it can never be full.
    pub(crate) fn check(&self) -> Result<(), String> {
        let problem =
            "nothing can be mounted here, so no disk can be full: run it as root, or --without full-disk";
        if self.mounted { Ok(()) } else { Err(problem.to_owned()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// The path by which the processes that use it are found.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Uses all the space. `None` if the disk is not only ours.
    pub(crate) fn fill(&self) -> Option<Full> {
        if !self.mounted {
            return None;
        }
        let path = self.folder.join("ballast");
        let mut file = File::create(&path).ok()?;
        let piece = vec![0; 64 * 1024];
        while file.write_all(&piece).is_ok() {}
        // The last bytes too.
        while file.write_all(&[0]).is_ok() {}
        Some(Full(path))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            self.scratch.kill_processes(None);
            let _ = Command::new("umount").arg("--lazy").arg(&self.folder).output();
        }
    }
}

/// A full disk; on drop it is freed again.
#[derive(Debug)]
pub(crate) struct Full(PathBuf);

impl Drop for Full {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
