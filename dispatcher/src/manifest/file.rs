//! Finds and reads the files that `kubectl apply -R -f` would, in a stable order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::{Place, Problem};
use crate::digest::digest;

/// Far above any manifest, far below what would hurt.
const MAX_BYTES: u64 = 8 << 20;

/// One manifest file, read.
pub(super) struct File {
    pub(super) path: Arc<Path>,
    pub(super) relative: PathBuf,
    pub(super) text: String,
}

/// Reads every manifest file below `dir`, or `dir` itself if it is a file.
pub(super) fn read(dir: &Path) -> Result<Vec<File>, Problem> {
    let mut paths = Vec::new();
    if dir.is_file() {
        paths.push(dir.to_path_buf());
    } else {
        find(dir, &mut paths)?;
    }
    paths.iter().map(|path| read_one(dir, path)).collect()
}

/// A hash over names and bytes. The sample events are not in it: they change nothing that runs.
pub(super) fn version(files: &[File]) -> String {
    digest(files.iter().flat_map(|file| [file.relative.as_os_str().as_encoded_bytes(), file.text.as_bytes()]))
}

/// Objects as if each stood in a file of its own.
pub(super) fn of_objects(objects: &BTreeMap<String, Value>) -> Vec<File> {
    let file = |(name, object): (&String, &Value)| {
        let path = Path::new(name);
        // JSON is YAML, and a line for each field lets problems say where they are.
        File { path: Arc::from(path), relative: path.to_path_buf(), text: format!("{object:#}") }
    };
    objects.iter().map(file).collect()
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), Problem> {
    let fail = |error: std::io::Error| {
        Problem::error(&Place::of_folder(dir), "", format!("the folder cannot be read: {error}"))
    };
    let mut entries = fs::read_dir(dir).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // A mounted ConfigMap keeps its files in `..2026_…/`, with `..data` and one link per file pointing there:
        // only the links are read, or everything would be found twice.
        if entry.file_name().as_encoded_bytes().starts_with(b"..") {
            continue;
        }
        if entry.file_type().map_err(fail)?.is_dir() {
            find(&path, found)?;
        } else if matches!(path.extension().and_then(|end| end.to_str()), Some("yaml" | "yml" | "json")) {
            found.push(path);
        }
    }
    Ok(())
}

fn read_one(dir: &Path, path: &Path) -> Result<File, Problem> {
    let fail = |message: String| Problem::error(&Place::of_folder(path), "", message);
    let size = fs::metadata(path).map_err(|error| fail(format!("cannot be read: {error}")))?.len();
    if size > MAX_BYTES {
        return Err(fail(format!("{size} bytes are more than a manifest may have ({MAX_BYTES})")));
    }
    let text = fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let relative = path.strip_prefix(dir).unwrap_or(path).to_path_buf();
    Ok(File { path: Arc::from(path), relative, text })
}
