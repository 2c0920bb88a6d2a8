//! Sample events, `<event>/sample.cloudevent`. Their name does not end in `.json`, so that `kubectl apply -R` does
//! not read them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use shared::private;

use super::file::MAX_BYTES;
use super::{Position, Problem};

/// The file name of a sample event.
const NAME: &str = "sample.cloudevent";

/// One sample event, unparsed.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The NATS subject of the event: the name of its folder.
    pub subject: String,
    /// The structured-mode CloudEvent.
    pub payload: Vec<u8>,
    /// Its position in the manifests.
    pub position: Position,
}

/// Reads the samples in the folders directly below `dir` and in `dir` itself.
pub(super) fn read(dir: &Path, problems: &mut Vec<Problem>) -> Vec<Sample> {
    if !dir.is_dir() {
        return Vec::new();
    }
    let mut folders = vec![dir.to_path_buf()];
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    folders.sort();
    folders.iter().filter_map(|folder| read_one(folder, problems)).collect()
}

fn read_one(folder: &Path, problems: &mut Vec<Problem>) -> Option<Sample> {
    let path = folder.join(NAME);
    let position = Position { file: Arc::from(path.as_path()), line: 0 };
    let payload = match private::read(&path, MAX_BYTES) {
        Ok(payload) => payload,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            problems.push(Problem::warning(&position, "", format!("cannot be read: {error}")));
            return None;
        }
    };
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let subject = folder.file_name()?.to_str()?.to_owned();
    Some(Sample { subject, payload, position })
}
