//! The manifests of the run: a copy of ours, which may change under load.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::scratch::Scratch;

use crate::fault::Change;

#[derive(Debug)]
pub(crate) struct Manifests {
    scratch: Scratch,
}

impl Manifests {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new("manifests");
        copy(&shipped(), &scratch.join("events"));
        Self { scratch }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.scratch.join("events")
    }

    pub(crate) fn change(&self, change: Change) {
        let config_map = self.folder().join("user-saved/configmap.yaml");
        let trigger = self.folder().join("welcome-email-sent/eventtrigger.yaml");
        match change {
            Change::TriggerGone => fs::remove_file(trigger).expect("a manifest"),
            Change::StepGone => fs::remove_dir_all(self.folder().join("customer-saved")).expect("a folder"),
            Change::ConfigMapGone => fs::remove_file(config_map).expect("a manifest"),
            Change::FolderGone => fs::remove_dir_all(self.folder()).expect("a folder"),
            Change::Copied => {
                fs::remove_dir_all(self.folder()).expect("a folder");
                copy_slowly(&shipped(), &self.folder());
            }
            Change::AllGone => {
                for entry in fs::read_dir(self.folder()).expect("a folder").flatten() {
                    drop(fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path())));
                }
            }
            Change::EmptyTrigger => replace(&trigger, ""),
            Change::HalfATemplate => {
                let text = fs::read_to_string(&config_map).expect("a manifest");
                replace(&config_map, &text[..text.len() / 2]);
            }
            Change::Label => {
                let text = fs::read_to_string(&config_map).expect("a manifest");
                replace(&config_map, &format!("{text}# changed\n"));
            }
            Change::Broken => replace(&config_map, "apiVersion: v1\nkind: ConfigMap\n  metadata: [\n"),
            Change::NewFolder => {
                let source = self.folder().join("touchpoints-created");
                let made = self.scratch.join("made");
                copy(&source, &made);
                for entry in fs::read_dir(&made).expect("a folder").flatten() {
                    if let Ok(text) = fs::read_to_string(entry.path()) {
                        let text = text.replace("touchpoints-created", "touchpoints-moved");
                        let text = text.replace("touchpoints.created", "touchpoints.moved");
                        fs::write(entry.path(), text).expect("a manifest");
                    }
                }
                fs::rename(made, self.folder().join("touchpoints-moved")).expect("a new folder");
            }
        }
    }

    /// A folder next to it without this step, like that of an older version.
    pub(crate) fn without(&self, step: &str) -> PathBuf {
        let older = self.scratch.join("older");
        let _ = fs::remove_dir_all(&older);
        copy(&shipped(), &older);
        fs::remove_dir_all(older.join(step)).expect("a folder");
        older
    }

    /// Restores them.
    pub(crate) fn restore(&self) {
        copy(&shipped(), &self.folder());
        let _ = fs::remove_dir_all(self.folder().join("touchpoints-moved"));
    }
}

/// The manifests of the project, which never change.
pub(crate) fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")
}

/// Like a copy over a network: each file is empty for a while.
fn copy_slowly(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_slowly(&entry.path(), &target);
        } else {
            fs::write(&target, "").expect("a file");
            std::thread::sleep(Duration::from_millis(120));
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// At once, like an editor or a mounted ConfigMap.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).expect("a file");
    fs::rename(next, path).expect("a file");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
