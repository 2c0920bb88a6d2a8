//! Reads the event that an argument names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Far above the largest event that a Job can have, and far below what would fill the memory.
const MAX_BYTES: u64 = 8 << 20;

/// The bytes of this file, or of standard input if it is `-`.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    if path.as_os_str() == "-" { all_of(io::stdin()) } else { all_of(File::open(path)?) }
}

fn all_of(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        let why = format!("it has more than {MAX_BYTES} bytes, which is too large for an event");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_too_large_and_not_read_to_the_end_of_memory() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{error}");
    }
}
