//! The manifests of the run: a copy of ours, which may change under load.

use std::fs;
use std::path::{Path, PathBuf};

use tests::scratch::Scratch;

use crate::fault::Change;

#[derive(Debug)]
pub(crate) struct Manifests {
    scratch: Scratch,
}

impl Manifests {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new("manifests");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
        copy(&shipped, &scratch.join("events"));
        Self { scratch }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.scratch.join("events")
    }

    pub(crate) fn change(&self, change: Change) {
        let config_map = self.folder().join("user-saved/configmap.yaml");
        match change {
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

    /// As they were.
    pub(crate) fn restore(&self) {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/user-saved/configmap.yaml");
        replace(
            &self.folder().join("user-saved/configmap.yaml"),
            &fs::read_to_string(shipped).expect("a manifest"),
        );
        let _ = fs::remove_dir_all(self.folder().join("touchpoints-moved"));
    }
}

/// At once, as an editor or a mounted ConfigMap does it.
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
