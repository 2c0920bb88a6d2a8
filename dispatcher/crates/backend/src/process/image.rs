//! From an image name to a binary on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shared::config::shown;
use shared::error::{Error, Result};

/// Our images have this prefix in their name; their binaries do not.
const PREFIX: &str = "knapscen-";

/// Where binaries are found.
#[derive(Clone, Debug)]
pub struct Images {
    /// The folder that holds the binaries, by name.
    pub bin_dir: PathBuf,
    /// Exceptions: an image, with or without its tag, or a bare name → a path.
    pub overrides: BTreeMap<String, PathBuf>,
}

impl Images {
    /// Checks that every override names a file.
    pub fn check(&self) -> Result<()> {
        for (name, path) in &self.overrides {
            if !path.is_file() {
                let message = format!("--image {name}={}: no such file", shown(path));
                return Err(Error::configuration(message));
            }
        }
        Ok(())
    }

    /// The binary of an image, whether it exists or not; `None` if the name has no usable last segment.
    pub fn binary(&self, image: &str) -> Option<PathBuf> {
        let repository = repository(image);
        let last = repository.rsplit('/').next().unwrap_or(repository);
        let name = last.strip_prefix(PREFIX).unwrap_or(last);
        for key in [image, repository, last, name] {
            if let Some(path) = self.overrides.get(key) {
                return Some(path.clone());
            }
        }
        usable(name).then(|| self.bin_dir.join(name))
    }

    /// The program of a Job with its own `command`: an absolute path as it is, a name from the folder of the
    /// binaries.
    pub fn program(&self, command: &str) -> Option<PathBuf> {
        let path = Path::new(command);
        if path.is_absolute() {
            return Some(path.to_owned());
        }
        usable(command).then(|| self.bin_dir.join(command))
    }
}

/// Since when each binary cannot be run: one that is being replaced will soon be back. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Absent {
    patience: Duration,
    since: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Absent {
    /// How long to wait for a binary.
    pub fn new(patience: Duration) -> Self {
        Self { patience, since: Arc::default() }
    }

    /// The binary cannot be run now. Returns whether to wait for it.
    pub(super) fn may_come(&self, program: &str) -> bool {
        let mut since = self.since.lock();
        since.entry(program.to_owned()).or_insert_with(Instant::now).elapsed() < self.patience
    }

    /// The binary can be run.
    pub(super) fn is_here(&self, program: &str) {
        self.since.lock().remove(program);
    }
}

/// The image without tag and digest. A colon before the last slash belongs to a registry's port.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let name_starts = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[name_starts..].find(':') {
        Some(colon) => &image[..name_starts + colon],
        None => image,
    }
}

fn usable(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(overrides: &[(&str, &str)]) -> Images {
        let overrides =
            overrides.iter().map(|(name, path)| ((*name).to_owned(), PathBuf::from(path))).collect();
        Images { bin_dir: "/bin-dir".into(), overrides }
    }

    #[test]
    fn an_image_names_its_binary_whatever_registry_tag_or_digest() {
        for image in [
            "save-user",
            "knapscen/save-user:latest",
            "localhost:5000/save-user",
            "localhost:5000/knapscen/save-user:1.2",
            "ghcr.io/colinjlacy/knapscen-save-user:latest",
            "ghcr.io/colinjlacy/knapscen-save-user@sha256:0123",
            "ghcr.io/colinjlacy/knapscen-save-user:1@sha256:0123",
        ] {
            assert_eq!(images(&[]).binary(image), Some("/bin-dir/save-user".into()), "{image}");
        }
    }

    #[test]
    fn an_override_is_found_by_image_repository_or_name() {
        for name in ["knapscen/save-user:latest", "knapscen/save-user", "save-user"] {
            let images = images(&[(name, "/elsewhere/x")]);
            assert_eq!(images.binary("knapscen/save-user:latest"), Some("/elsewhere/x".into()), "{name}");
        }
    }

    #[test]
    fn an_image_never_leaves_the_folder() {
        for image in ["", "knapscen/", "knapscen/..", "knapscen/.hidden", "..", "a/knapscen-"] {
            assert_eq!(images(&[]).binary(image), None, "{image}");
        }
        assert_eq!(images(&[]).program("../sh"), None);
        assert_eq!(images(&[]).program("/bin/sh"), Some("/bin/sh".into()));
    }
}
