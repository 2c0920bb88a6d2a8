//! Sample events, `<event>/sample.cloudevent`: not named `.json`, so that `kubectl apply -R` does not take them for manifests.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{Place, Problem};

/// The file name of a sample event.
const NAME: &str = "sample.cloudevent";

/// One sample event, unparsed.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The NATS subject it would come on: the name of its folder.
    pub subject: String,
    /// The structured-mode CloudEvent.
    pub payload: Vec<u8>,
    /// Where it stands.
    pub place: Place,
}

/// Reads the samples in the folders directly below `dir` and in `dir` itself.
pub(super) fn read(dir: &Path, problems: &mut Vec<Problem>) -> Vec<Sample> {
    let mut folders = vec![dir.to_path_buf()];
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    folders.sort();
    folders.iter().filter_map(|folder| read_one(folder, problems)).collect()
}

fn read_one(folder: &Path, problems: &mut Vec<Problem>) -> Option<Sample> {
    let path = folder.join(NAME);
    let place = Place { file: Arc::from(path.as_path()), line: 0 };
    let payload = match fs::read(&path) {
        Ok(payload) => payload,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            problems.push(Problem::warning(&place, "", format!("cannot be read: {error}")));
            return None;
        }
    };
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let subject = folder.file_name()?.to_str()?.to_owned();
    Some(Sample { subject, payload, place })
}
