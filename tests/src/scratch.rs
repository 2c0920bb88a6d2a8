//! A temporary directory that is removed together with every process that still uses it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::reaper;

/// A directory that is removed on drop. Before, the processes that have it in their environment or as working
/// directory are killed, because Jobs outlive a killed dispatcher.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
}

impl Scratch {
    /// An empty directory whose name begins with the word given.
    pub fn new(word: &str) -> Self {
        Self::within(&std::env::temp_dir(), word)
    }

    /// The same in another place than that for temporary files.
    pub fn within(place: &Path, word: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix(&format!("knapscen-{word}-"))
            .tempdir_in(place)
            .expect("a directory");
        reaper::watch_directory(directory.path());
        Self { directory }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A path inside it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file into it, creating folders, and returns its path.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(&path, content).expect("a file");
        path
    }

    /// The processes whose environment or working directory names this directory: id and program name.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let needle = self.path().as_os_str().as_encoded_bytes();
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        entries
            .filter_map(|entry| {
                let id: i32 = entry.file_name().to_str()?.parse().ok()?;
                let environment = fs::read(entry.path().join("environ")).ok()?;
                let here = fs::read_link(entry.path().join("cwd"))
                    .is_ok_and(|path| path.starts_with(self.path()))
                    || environment.windows(needle.len()).any(|window| window == needle);
                let program = fs::read_link(entry.path().join("exe")).ok()?;
                here.then(|| (id, program.file_name().unwrap_or_default().to_string_lossy().into_owned()))
            })
            .collect()
    }

    /// Kills every process of [`Self::processes`] with this program name, or all of them.
    pub fn kill_processes(&self, program: Option<&str>) -> usize {
        let ours = i32::try_from(std::process::id()).expect("an id");
        let found = self.processes().into_iter();
        found
            .filter(|(id, name)| *id != ours && program.is_none_or(|program| program == name))
            .filter_map(|(id, _)| kill_process(Pid::from_raw(id)?, Signal::KILL).ok())
            .count()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.kill_processes(None);
        reaper::forget_directory(self.path());
    }
}
