//! Finds and reads the files that `kubectl apply -R -f` would read, in a stable order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use shared::config::shown;
use shared::private;

use super::{Position, Problem};
use job::digest;

/// The largest file, in bytes: far above any manifest, and far below what would fill the memory.
pub(super) const MAX_BYTES: u64 = 8 << 20;

/// One manifest file.
pub(super) struct File {
    pub(super) path: Arc<Path>,
    pub(super) relative: PathBuf,
    /// Its content, or why that cannot be read. The other files are read all the same.
    pub(super) text: Result<String, String>,
}

/// Reads every manifest file below `dir`, or `dir` itself if it is a file.
pub(super) fn read(dir: &Path) -> Result<Vec<File>, Problem> {
    let mut paths = Vec::new();
    if dir.is_file() {
        paths.push(dir.to_path_buf());
    } else {
        find(dir, &mut paths)?;
    }
    Ok(paths.iter().map(|path| read_one(dir, path)).collect())
}

/// A hash over names and bytes. Sample events are left out, because they do not affect `run`.
pub(super) fn version(files: &[File]) -> String {
    digest(files.iter().flat_map(|file| {
        let text = file.text.as_ref().unwrap_or_else(|why| why);
        [file.relative.as_os_str().as_encoded_bytes(), text.as_bytes()]
    }))
}

/// Objects, each as a file of its own.
pub(super) fn of_objects(objects: &BTreeMap<String, Value>) -> Vec<File> {
    let file = |(name, object): (&String, &Value)| {
        let path = Path::new(name);
        // JSON is valid YAML. One line for each field lets problems name the line.
        File { path: Arc::from(path), relative: path.to_path_buf(), text: Ok(format!("{object:#}")) }
    };
    objects.iter().map(file).collect()
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), Problem> {
    let fail = |error: std::io::Error| {
        let position = Position::of_folder(Path::new(&shown(dir)));
        Problem::error(&position, "", format!("the folder cannot be read: {error}"))
    };
    let mut entries = fs::read_dir(dir).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // A mounted ConfigMap keeps its files in `..2026_…/`, and has `..data` and one link for each file. Only these
        // links are read; otherwise every file would be found twice.
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

fn read_one(dir: &Path, path: &Path) -> File {
    let bytes = private::read(path, MAX_BYTES).map_err(|error| format!("cannot be read: {error}"));
    let text = bytes.and_then(|bytes| {
        let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let what = if is_utf16 { "is UTF-16: save it as UTF-8" } else { "is not UTF-8" };
        String::from_utf8(bytes).map_err(|_| what.to_owned())
    });
    let relative = path.strip_prefix(dir).unwrap_or(path).to_path_buf();
    File { path: Arc::from(path), relative, text }
}
