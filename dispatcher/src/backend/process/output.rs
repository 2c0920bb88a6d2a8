//! The output of a Job's newest try, for people: reads `jobs/<namespace>.<name>/output-<try>.log`, its end only.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use shared::error::Result;

use super::super::MAX_LOGS;
use super::record::{blocking, folder_name};

/// The last [`MAX_LOGS`] bytes as text; `None` where there is no output.
pub(super) async fn tail(state_dir: &Path, namespace: &str, name: &str) -> Result<Option<String>> {
    let folder = state_dir.join("jobs").join(folder_name(namespace, name)?);
    blocking(move || newest(&folder)?.map(|path| end_of(&path)).transpose()).await
}

fn newest(folder: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut newest = None;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("output-")?.strip_suffix(".log"));
        if let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) {
            newest = newest.max(Some((number, entry.path())));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

fn end_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOGS)))?;
    let mut bytes = Vec::new();
    file.take(MAX_LOGS).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
